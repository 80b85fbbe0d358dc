"""The errors that users see: what is wrong, where it is, and what to do about it.

Every one carries its exit code; the command line prints it without a traceback.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line (0 ok)."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    UNSUPPORTED = 3
    MISSING_RUNTIME = 4
    NO_VERDICT = 5  # of `attnc gate`: the machine is too noisy to decide


class AttncError(Exception):
    """Base of all errors that are the user's to see.

    `message` names the thing that is wrong, `where` the place (file, or node with its torch
    module and source line), `remedy` what to do next.
    """

    exit_code: ExitCode = ExitCode.CHECK_FAILED

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        self.message, self.where, self.remedy = message, where, remedy
        super().__init__(self.render())

    def render(self) -> str:
        """The whole text, one labelled line per part."""
        lines = [self.message]
        if self.where:
            lines.append(f"  at: {self.where}")
        if self.remedy:
            lines.append(f"  try: {self.remedy}")
        return "\n".join(lines)


class UsageError(AttncError):
    """The command, an option or an input file is wrong."""

    exit_code = ExitCode.USAGE


class UnsupportedError(AttncError):
    """A valid input that this version or target cannot serve."""

    exit_code = ExitCode.UNSUPPORTED


class ParityError(AttncError):
    """The bundle computes something else than the source model."""

    exit_code = ExitCode.CHECK_FAILED


class BudgetError(AttncError):
    """A latency, size or memory budget is exceeded."""

    exit_code = ExitCode.CHECK_FAILED


class MissingRuntimeError(AttncError):
    """A runtime, a library or a device that the request needs is not here."""

    exit_code = ExitCode.MISSING_RUNTIME
