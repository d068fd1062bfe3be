"""Words, settings and small widgets."""
