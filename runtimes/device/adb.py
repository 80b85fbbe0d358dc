"""An Android device over adb, by the program of the platform tools."""

from __future__ import annotations

import re
from pathlib import Path

from attnc.compiler.errors import MissingRuntimeError, UsageError

from .shell import Done, Shell, call, find_program

_LOST = re.compile(r"^(adb: )?error: (closed|device .*(not found|offline)|no devices)", re.M)
_STATES = {
    "unauthorized": ("does not trust this computer yet", "unlock it and allow USB debugging"),
    "offline": ("is offline", "connect it again, or `adb reconnect`"),
    "no": ("may not be opened by this user", "see to the permissions of USB devices (udev)"),
}


class AdbShell(Shell):
    """`serial` picks a device where several are connected.

    Raises MissingRuntimeError if adb or the device is not here or does not answer, UsageError if
    it is not clear which device is meant.
    """

    base = "/data/local/tmp"

    def __init__(self, serial: str | None = None) -> None:
        self._adb = find_program("adb", "the Android platform tools (Debian: adb)")
        self.serial = _choose(_devices(self._adb), serial)
        self.name = f"the Android device {self.serial}"

    def run(self, command: str, timeout: float | None = None) -> Done:
        return self._call("shell", command, timeout=timeout)

    def push(self, local: Path, remote: str) -> None:
        done = self._call("push", str(local), remote)
        if done.code:
            raise self.not_written(remote, done.error or done.output)

    def pull(self, remote: str, local: Path) -> None:
        done = self._call("pull", remote, str(local))
        if done.code:
            raise self.lost(done.error or done.output)

    def target(self) -> str:
        abi = self.ask("getprop ro.product.cpu.abi")
        return {"arm64-v8a": "android-aarch64"}.get(abi, f"android-{abi or 'unknown'}")

    def _call(self, *words: str, timeout: float | None = None) -> Done:
        done = call([self._adb, "-s", self.serial, *words], timeout)
        if done.code and _LOST.search(done.error):
            raise self.lost(done.error)
        return done


def _devices(adb: str) -> dict[str, str]:
    """Serial numbers and states."""
    done = call([adb, "devices"], timeout=30)
    if done.code:
        raise MissingRuntimeError(
            f"adb does not work: {done.error.strip()[-300:]}", remedy="try `adb kill-server`"
        )
    lines = done.output.partition("List of devices attached")[2].splitlines()
    pairs = (line.split() for line in lines if len(line.split()) >= 2)
    return {words[0]: words[1] for words in pairs}


def _choose(devices: dict[str, str], serial: str | None) -> str:
    if not devices:
        raise MissingRuntimeError(
            "no Android device is connected", remedy="connect one with USB debugging switched on"
        )
    if serial is None and len(devices) > 1:
        raise UsageError(
            f"several devices are connected: {', '.join(devices)}", remedy="--serial NUMBER"
        )
    chosen = serial or next(iter(devices))
    if chosen not in devices:
        raise MissingRuntimeError(
            f"the Android device {chosen} is not connected",
            remedy=f"use one of {', '.join(devices)}",
        )
    state = devices[chosen]
    if state != "device":
        wrong, remedy = _STATES.get(state, (f"is in the state {state!r}", "start it normally"))
        raise MissingRuntimeError(f"the Android device {chosen} {wrong}", remedy=remedy)
    return chosen
