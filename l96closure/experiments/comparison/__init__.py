"""Finished runs of the closure experiment laid side by side."""
