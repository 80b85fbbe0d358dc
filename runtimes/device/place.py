"""The folder on the device: checked before it is filled, removed whatever happens.

Files lie under their hash, so what an earlier run has kept there is not sent again.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from attnc.compiler.bundle import file_sha256
from attnc.compiler.errors import AttncError, MissingRuntimeError, UnsupportedError, UsageError

from .shell import Shell

#: Room for outputs and the report, beside the files themselves.
SPARE = 16 << 20
_SENSORS = re.compile(r"cpu|soc|apss|core|pkg|cluster", re.IGNORECASE)
_READ_ZONES = (
    "for z in /sys/class/thermal/thermal_zone*; do "
    'echo "$(cat $z/type 2>/dev/null):$(cat $z/temp 2>/dev/null)"; done'
)


@dataclass(frozen=True)
class Place:
    """`work` is this run's own folder on the device; `kept` outlives it where that is asked for."""

    shell: Shell
    work: str
    kept: str

    def put(self, local: Path) -> str:
        """The path of the file on the device; sent only if it is not there yet."""
        remote = f"{self.kept}/{file_sha256(local)[:24]}-{local.name}"
        size = self.shell.ask(f"wc -c < {shlex.quote(remote)} 2>/dev/null")
        if size != str(local.stat().st_size):
            self.shell.push(local, f"{remote}.part")
            done = self.shell.run(f"mv {shlex.quote(remote)}.part {shlex.quote(remote)}")
            if done.code:
                raise self.shell.not_written(remote, done.error)
        return remote


@contextmanager
def place(shell: Shell, *, keep: bool = False) -> Iterator[Place]:
    """A fresh folder on the device; with `keep` what was put stays for the next run.

    Raises AttncError if it cannot be made.
    """
    work, kept = f"{shell.base}/attnc-{secrets.token_hex(8)}", f"{shell.base}/attnc-kept"
    if not keep:
        kept = f"{work}/files"
    done = shell.run(f"umask 077; mkdir {work} && mkdir -p {kept}")
    if done.code:
        raise shell.not_written(work, done.error)
    try:
        yield Place(shell, work, kept)
    finally:
        # A lost connection has its own message, which must not be replaced by this one's.
        with suppress(MissingRuntimeError):
            shell.run(f"rm -rf {work}")


def check_space(shell: Shell, files: list[Path]) -> None:
    """Raises UsageError, with the figures, if the files do not fit."""
    lines = shell.ask(f"df -kP {shell.base}").splitlines()
    numbers = re.findall(r"\s(\d+)(?=\s)", lines[-1]) if len(lines) > 1 else []
    if len(numbers) < 3:
        return  # not a df that is known; a full disk is still told when a file is sent
    free, wanted = int(numbers[2]) * 1024, sum(f.stat().st_size for f in files) + SPARE
    if free < wanted:
        raise UsageError(
            f"{shell.name} has {free / 1e6:.0f} MB free, {wanted / 1e6:.0f} MB are needed",
            where=shell.base,
            remedy="remove something from the device",
        )


def temperature(shell: Shell) -> float | None:
    """The hottest sensor of the processor in degrees Celsius; None if it tells none."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for line in shell.ask(_READ_ZONES).splitlines():
        kind, _, text = line.rpartition(":")
        with suppress(ValueError):
            value = float(text) / (1000 if abs(float(text)) >= 1000 else 1)
            if 0 < value < 150:  # sensors that are switched off give nonsense
                found[bool(_SENSORS.search(kind))].append(value)
    return max(found[True] or found[False], default=None)


def check_temperature(shell: Shell, limit: float) -> float | None:
    """The temperature. Raises AttncError if the device is hotter than `limit`."""
    now = temperature(shell)
    if now is not None and now > limit:
        raise AttncError(
            f"{shell.name} is too hot: {now:.1f} degrees Celsius, at most {limit:g} are accepted",
            remedy="let it cool down, or accept more with --max-temperature",
        )
    return now


def check_target(shell: Shell, wanted: tuple[str, ...], known: tuple[str, ...]) -> str:
    """The device's kind. Raises UnsupportedError if it is none of `wanted`, or has no runner."""
    found = shell.target()
    if wanted and found not in wanted:
        raise UnsupportedError(
            f"the bundle has kernels for {', '.join(wanted)}; {shell.name} is {found}",
            remedy="export the bundle for the device's architecture",
        )
    if found not in known:
        raise UnsupportedError(
            f"there is no runner for {found}, which {shell.name} is",
            remedy=f"use a device of {', '.join(known)}",
        )
    return found
