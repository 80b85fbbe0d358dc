"""The runner for Android under emulation, with Linux's C library behind the names of Android's.

Its code, its start and its imports run; Android's own loader and libc do not.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from board_bundles import ort_library

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.cpu.compiler import run_compiler, zig_path
from attnc.runtimes.cpu.library import library_path
from attnc.runtimes.device.build import build
from attnc.tools import arm64

#: What Android's libc does with a program's stack, as far as the runner sees it.
SHIM = """#include <stdlib.h>
void __libc_init(long *stack, void *leave, int (*entry)(int, char **), void *lists) {
  exit(entry((int)stack[0], (char **)(stack + 1)));
}
"""


def found(name: str) -> Path:
    return next((arm64.SANDBOX / "root").rglob(name))


@pytest.mark.slow
def test_it_computes_the_recorded_output(bundle: Bundle, tmp_path: Path) -> None:
    try:
        arm64.prepare()
    except MissingRuntimeError as error:
        pytest.skip(str(error))
    (tmp_path / "shim.c").write_text(SHIM)
    command = [zig_path(), "cc", "-target", "aarch64-linux-gnu.2.28", "-shared", "-fPIC", "-w"]
    run_compiler([*command, "shim.c", "-Wl,-soname,libc.so", "-o", "libc.so"], tmp_path)
    (tmp_path / "libdl.so").symlink_to(found("libdl.so.2"))
    record, (spec,) = bundle.manifest.reference[0], bundle.manifest.inputs
    seeded_input(record.input_shape, record.seed).tofile(tmp_path / "x.raw")
    shape = "x".join(str(size) for size in record.input_shape)
    loader = found("ld-linux-aarch64.so.1")
    search = f"{tmp_path}:{loader.parent}:{found('libstdc++.so.6').parent}"
    qemu = [arm64.SANDBOX / "host/usr/bin/qemu-aarch64-static", "-cpu", "cortex-a76"]
    words = [*qemu, "-L", arm64.SANDBOX / "root", "-E", f"LD_LIBRARY_PATH={search}", loader]
    words += [build("android-aarch64"), "--model", bundle.model_path, "--iterations", "1"]
    words += ["--ort", ort_library(arm64.SANDBOX / "site"), "--output-dir", tmp_path]
    words += ["--kernels", library_path("android-aarch64")]
    words += ["--input", f"{spec.name}={tmp_path}/x.raw@{shape}"]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    got = np.fromfile(tmp_path / report["outputs"][0]["file"], np.float32)
    want = np.load(bundle.path / record.path).ravel()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())
