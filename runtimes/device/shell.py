"""What a way to a device can do: run a command there, put a file, get a file.

`adb` and `ssh` differ in how they fail; above this file nobody knows which one it is.
"""

from __future__ import annotations

import shutil
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from attnc.compiler.errors import AttncError, MissingRuntimeError


@dataclass(frozen=True)
class Done:
    """A command that ended on the device; a code above 128 is a signal."""

    code: int
    output: str
    error: str


class Shell(ABC):
    """A device that answers. `name` is for messages, `base` the folder for temporary files."""

    name: str
    base: str

    @abstractmethod
    def run(self, command: str, timeout: float | None = None) -> Done:
        """Run a line of POSIX shell. Raises MissingRuntimeError if the connection is lost."""

    @abstractmethod
    def push(self, local: Path, remote: str) -> None:
        """Put a file there. Raises MissingRuntimeError, or AttncError if it cannot be written."""

    @abstractmethod
    def pull(self, remote: str, local: Path) -> None:
        """Get a file. Raises MissingRuntimeError, or AttncError if it is not there."""

    @abstractmethod
    def target(self) -> str:
        """The kernels that it takes, as `linux-aarch64`, or what it is if there are none."""

    def close(self) -> None:  # noqa: B027 - most ways hold nothing open
        """End the connection."""

    def ask(self, command: str) -> str:
        """The output of a command that should work; empty if it does not."""
        done = self.run(command)
        return done.output.strip() if done.code == 0 else ""

    def lost(self, detail: str) -> MissingRuntimeError:
        """The connection broke."""
        return MissingRuntimeError(
            f"the connection to {self.name} was lost: {detail.strip()[-300:] or 'no reason given'}",
            remedy="check the cable or the network, and run the command again",
        )

    def not_written(self, remote: str, detail: str) -> AttncError:
        """A file did not get there whole."""
        return AttncError(
            f"{self.name} did not take a file: {detail.strip()[-300:]}",
            where=remote,
            remedy="check that the device has space left and lets its temporary folder be written",
        )


def find_program(name: str, package: str) -> str:
    """The program's path. Raises MissingRuntimeError naming what to install."""
    found = shutil.which(name)
    if found is None:
        raise MissingRuntimeError(f"there is no program {name} here", remedy=f"install {package}")
    return found


def call(command: list[str], timeout: float | None = None, stdin: Path | None = None) -> Done:
    """Run a program of this machine. Raises MissingRuntimeError if it does not end in time."""
    try:
        with (stdin or Path("/dev/null")).open("rb") as source:
            done = subprocess.run(
                command, stdin=source, capture_output=True, timeout=timeout, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise MissingRuntimeError(
            f"the device did not answer within {timeout:g} s",
            remedy="see whether it sleeps, or give it more time with --patience",
        ) from error
    text = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    return Done(done.returncode, *text)
