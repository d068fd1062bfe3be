"""The toolbox door: the same requests as the dock's, without widgets."""
