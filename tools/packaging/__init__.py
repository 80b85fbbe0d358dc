"""Packages for developers of apps: a bundle with the code that calls it, written from templates."""
