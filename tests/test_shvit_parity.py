"""Whole SHViTs: every instruction set of this CPU, arm64 under emulation, odd maps, all batches."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import attnc
from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.cpu.library import cpu_features, library_path
from attnc.tools import arm64

LIMIT = 1e-4
SIZES = {"224": 224, "256": 256, "320x192": (320, 192)}
FAST = {("shvit_s1", "320x192")}
CASES = [
    pytest.param(model, size, marks=() if (model, size) in FAST else pytest.mark.slow)
    for model in ("shvit_s1", "shvit_s2", "shvit_s3", "shvit_s4")
    for size in SIZES
]
SCRIPT = Path(__file__).parent / "data" / "run_folder.py"


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


def picture(batch: int, size: int | tuple[int, int]) -> np.ndarray:
    height, width = (size, size) if isinstance(size, int) else size
    return np.random.default_rng().standard_normal((batch, 3, height, width), np.float32)


def reference(model: str, x: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return attnc.build_model(model)(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize(("model", "size"), CASES)
def test_bundle_computes_what_torch_computes(
    model: str, size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = SIZES[size]
    attnc.export(model, output=tmp_path / "b", image_size=pixels, batch="dynamic")
    for batch in (1, 3, 8):
        x = picture(batch, pixels)
        want = reference(model, x)
        for isa in cpu_features():
            monkeypatch.setenv("ATTNC_CPU_ISA", isa)
            got = attnc.open(tmp_path / "b", threads=2).run({"input": x})["logits"]
            assert relative_error(got, want) <= LIMIT, (isa, batch)


def test_an_onnxruntime_that_never_heard_of_us_gives_the_same_logits(tmp_path: Path) -> None:
    attnc.export("shvit_s1", output=tmp_path / "plain", kernels=False)
    attnc.export("shvit_s1", output=tmp_path / "full")
    assert not (tmp_path / "plain" / "kernels").exists()
    x = picture(1, 224)
    full = (tmp_path / "full" / "model.onnx").read_bytes()
    assert (tmp_path / "plain" / "model.onnx").read_bytes() == full
    session = ort.InferenceSession(full, providers=["CPUExecutionProvider"])
    want = attnc.open(tmp_path / "full").run({"input": x})["logits"]
    assert relative_error(session.run(None, {"input": x})[0], want) <= LIMIT


@pytest.mark.skipif(sys.platform != "linux", reason="qemu-user emulates Linux")
@pytest.mark.slow
def test_arm64_computes_what_torch_computes(tmp_path: Path) -> None:
    try:
        arm64.prepare()
    except MissingRuntimeError as error:
        pytest.skip(str(error))
    bundle = attnc.export("shvit_s2", output=tmp_path / "b", profile="arm64", batch="dynamic")
    x = picture(2, 224)
    np.savez(tmp_path / "b" / "model.npz", input=x)
    arm64.run(str(SCRIPT), str(bundle.path), str(library_path("linux-aarch64")))
    got = np.load(tmp_path / "b" / "model.out.npz")["o0"]
    assert relative_error(got, reference("shvit_s2", x)) <= LIMIT
