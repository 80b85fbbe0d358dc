"""A board or a server over ssh, by the program of OpenSSH; files go through `cat`.

Nothing else is needed there than a POSIX shell: small boards often lack an sftp server.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from pathlib import Path

from attnc.compiler.errors import MissingRuntimeError, UsageError

from .shell import Done, Shell, call, find_program

#: What ssh itself answers when there is no connection.
BROKEN = 255
_CONNECT_SECONDS = 15
#: What ssh says, and what to do about it.
_REFUSALS = (
    (
        "permission denied",
        "it accepts none of this user's keys",
        "ssh-copy-id, or name a key in a configuration: --ssh-config FILE",
    ),
    (
        "host key verification failed",
        "its host key is unknown or has changed",
        "connect once by hand with ssh, and compare the key",
    ),
    ("could not resolve", "the name is not known", "check the spelling, or give the address"),
    ("connection refused", "no ssh server answers there", "start one, and check the port"),
    ("timed out", "it does not answer", "check that it is switched on and in the same network"),
)


class SshShell(Shell):
    """`host` is as for ssh (`pi@board`); `config` takes the place of ~/.ssh/config.

    Raises MissingRuntimeError with the reason if there is no connection without a password.
    """

    base = "/tmp"

    def __init__(self, host: str, config: Path | None = None) -> None:
        if not host or host.startswith("-"):
            raise UsageError(f"--ssh {host!r} is no host", remedy="as for ssh: user@host")
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}"]
        alive = ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
        file = ["-F", str(config)] if config else []
        program = find_program("ssh", "OpenSSH's client (Debian: openssh-client)")
        self.name = host
        # One connection for all commands; the socket's path must be short.
        self._folder = tempfile.TemporaryDirectory(prefix="attnc-ssh-")
        shared = ["ControlMaster=auto", "ControlPersist=60", f"ControlPath={self._folder.name}/s"]
        once = [word for option in shared for word in ("-o", option)]
        self._command = [program, *file, *options, *alive, *once, "-T", host]
        first = call([*self._command, "echo ready"], timeout=4 * _CONNECT_SECONDS)
        if first.code:
            raise _refused(host, first.error)

    def close(self) -> None:
        """End the shared connection, if there is one."""
        call([*self._command[:-1], "-O", "exit", self.name], timeout=_CONNECT_SECONDS)
        self._folder.cleanup()

    def run(self, command: str, timeout: float | None = None) -> Done:
        return self._call(command, timeout=timeout)

    def push(self, local: Path, remote: str) -> None:
        done = self._call(f"cat > {shlex.quote(remote)}", stdin=local)
        if done.code:
            raise self.not_written(remote, done.error)

    def pull(self, remote: str, local: Path) -> None:
        with local.open("wb") as into:
            command = [*self._command, f"cat {shlex.quote(remote)}"]
            done = subprocess.run(command, stdout=into, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise self.lost(done.stderr.decode("utf-8", "replace"))

    def target(self) -> str:
        system, _, machine = self.ask("uname -sm").partition(" ")
        machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)
        return f"{system.lower() or 'unknown'}-{machine}"

    def _call(self, command: str, timeout: float | None = None, stdin: Path | None = None) -> Done:
        done = call([*self._command, command], timeout, stdin)
        if done.code == BROKEN:
            raise self.lost(done.error)
        return done


def _refused(host: str, said: str) -> MissingRuntimeError:
    for sign, reason, remedy in _REFUSALS:
        if sign in said.lower():
            return MissingRuntimeError(f"no connection to {host}: {reason}", remedy=remedy)
    last = (said.strip().splitlines() or ["ssh gives no reason"])[-1]
    return MissingRuntimeError(f"no connection to {host}: {last}", remedy=f"try `ssh {host}`")
