"""Passes that bring the many shapes of one idea to one form."""
