"""The panel Segment."""
