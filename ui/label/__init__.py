"""The panel Label."""
