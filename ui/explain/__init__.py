"""Why? An explanation of an object, and where a run is weak, as layers."""
