"""How accurate a model is, in numbers and on the map."""
