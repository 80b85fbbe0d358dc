"""The runner for arm64 over ssh: the server says that it is arm64 and runs it under emulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from board_bundles import ort_library, small
from board_sshd import server

from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.runtimes.device.request import Request
from attnc.runtimes.device.run import run_on_device
from attnc.runtimes.device.ssh import SshShell
from attnc.tools import arm64

pytestmark = pytest.mark.slow

QEMU = f"{arm64.SANDBOX}/host/usr/bin/qemu-aarch64-static -cpu cortex-a76 -L {arm64.SANDBOX}/root"
#: `cd FOLDER && RUNNER ...` is the one command that runs a program of the device.
COMMAND = f"""case "$SSH_ORIGINAL_COMMAND" in
"uname -sm") echo Linux aarch64 ;;
"cd "*) exec sh -c "$(printf %s "$SSH_ORIGINAL_COMMAND" | sed 's|&& |\\&\\& {QEMU} |')" ;;
*) exec sh -c "$SSH_ORIGINAL_COMMAND" ;;
esac"""


@pytest.mark.parametrize("form", ["onnx", "ort"])
def test_the_bundles_own_kernels_compute_the_source(tmp_path: Path, form: Any) -> None:
    try:
        arm64.prepare()
    except MissingRuntimeError as error:
        pytest.skip(str(error))
    bundle = small(tmp_path / "b", "arm64")
    library = ort_library(arm64.SANDBOX / "site")
    request = Request(library, form, iterations=1, seconds=0.0, warmup=0)

    def no_source() -> Any:
        raise UsageError("gone")

    folder = tmp_path / "sshd"
    folder.mkdir()
    with server(folder, COMMAND) as config:
        report = run_on_device(bundle, lambda: SshShell("board", config), request, no_source)
    assert report["ok"], report["checks"]
    assert report["device"]["target"] == "linux-aarch64"
    names = [c["name"] for c in report["checks"] if c["status"] == "verified"]
    assert len(names) == len(bundle.manifest.reference)
    assert all(name.endswith("device-linux-aarch64") for name in names)
