"""Passes that only remove what does nothing."""
