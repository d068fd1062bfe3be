"""The panel Changes: compare dates, look at them side by side, and review what changed."""
