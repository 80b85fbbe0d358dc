"""The batches of a Core ML bundle whose batch is free: its package and its README name the same."""

from __future__ import annotations

#: The first is Core ML's default.
BATCHES = (1, 2, 4, 8)
