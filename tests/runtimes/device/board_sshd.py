"""An ssh server of our own for tests: a random port, fresh keys, this user, one forced command."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
UNPACKED = ROOT / "build" / "openssh"
PACKAGES = ("openssh-server", "openssh-client", "libwrap0")


def server_program() -> Path:
    """The system's sshd, or the distribution's, unpacked without root."""
    found = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if found and shutil.which("ssh"):
        return Path(found)
    if not (UNPACKED / "usr/sbin/sshd").exists():
        if not shutil.which("apt-get"):
            pytest.skip("there is no sshd, and no apt-get to fetch one")
        UNPACKED.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-q", "download", *PACKAGES], cwd=UNPACKED, check=True)
        for package in UNPACKED.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, UNPACKED], check=True)
    libraries = ":".join(str(p.parent) for p in UNPACKED.rglob("lib*.so*"))
    os.environ["PATH"] += f":{UNPACKED}/usr/bin"
    os.environ["LD_LIBRARY_PATH"] = libraries
    return UNPACKED / "usr/sbin/sshd"


@contextmanager
def server(folder: Path, command: str = 'exec sh -c "$SSH_ORIGINAL_COMMAND"') -> Iterator[Path]:
    """A running server whose every session runs `command`; yields the client's configuration.

    The host is called `board`.
    """
    sshd = server_program()
    for name in ("host", "user"):
        generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(generate, check=True)
    wrapper = folder / "wrapper"
    wrapper.write_text(f"#!/bin/sh\n{command}\n")
    wrapper.chmod(0o700)
    port = _free_port()
    _write_configurations(folder, wrapper, port)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = folder / "log"
    process = subprocess.Popen([sshd, "-D", "-f", folder / "sshd_config", "-E", log])
    try:
        _wait(port, process, log)
        yield folder / "ssh_config"
    finally:
        process.terminate()
        process.wait(10)


def _write_configurations(folder: Path, wrapper: Path, port: int) -> None:
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nPermitRootLogin yes\nForceCommand {wrapper}\n"
    )
    key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}")
    (folder / "ssh_config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile none\n"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"sshd does not start: {log.read_text() if log.exists() else ''}")
