"""Tools that are quicker than drawing: each corrects a polygon layer by clicks on the map."""
