"""The model families, one plain-torch file each, and their registry."""
