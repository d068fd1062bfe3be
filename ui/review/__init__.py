"""The panel *Review*: results at another threshold, squares to check, quick tools, learning, versions."""
