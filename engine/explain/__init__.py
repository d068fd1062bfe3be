"""Why a model says so, and where it is weak, as layers."""
