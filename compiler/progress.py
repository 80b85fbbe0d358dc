"""How long work tells where it is, without knowing who listens.

The command line shows bars on a terminal and plain lines elsewhere; Python callers hear nothing.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listener of long work."""

    def stage(self, text: str, total: int | None = None) -> None:
        """A new stage begins; `total` steps if they can be counted."""

    def advance(self, steps: int = 1) -> None:
        """Steps of the current stage are done."""


class Silent:
    """Hears everything and says nothing."""

    def stage(self, text: str, total: int | None = None) -> None:
        """Ignore it."""

    def advance(self, steps: int = 1) -> None:
        """Ignore it."""


SILENT = Silent()
