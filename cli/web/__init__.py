"""The page that `orthomask page` serves to a browser on this computer: another door to the same requests."""
