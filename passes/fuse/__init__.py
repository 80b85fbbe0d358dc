"""Passes that replace patterns by semantic operators."""
