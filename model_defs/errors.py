"""The errors of this package. It imports nothing of ours, so the compiler translates them.

Each carries `message`, `where` and `remedy`, the three parts that the command line prints.
"""

from __future__ import annotations


class ModelError(Exception):
    """Base: `message` says what is wrong, `where` the place, `remedy` what to do next."""

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        self.message, self.where, self.remedy = message, where, remedy
        super().__init__(message)


class UnknownModelError(ModelError, LookupError):
    """No family lists this name."""


class ModelOptionError(ModelError, ValueError):
    """An option, a class count or an image size that the model cannot take."""


class CheckpointError(ModelError, ValueError):
    """A checkpoint that cannot be read, or that belongs to another model."""
