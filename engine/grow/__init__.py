"""An object from a click: its outline grown from the picture and from what the model makes of it."""
