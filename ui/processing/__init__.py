"""The Processing toolbox: the dock's requests, without widgets."""
