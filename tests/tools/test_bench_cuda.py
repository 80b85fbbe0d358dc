"""The benchmark of the CUDA kernels on a GPU that counts time, and bodies in PyTorch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from attnc.compiler.ops import registry
from attnc.runtimes.cuda.driver import open_driver
from attnc.runtimes.cuda.gpu_bench import Case
from attnc.runtimes.cuda.kernels import KERNELS
from attnc.tools import bench_cuda, torch_times
from attnc.tools.torch_body import torch_body
from attnc.tools.torch_times import parts_of

SEED = 3
MAP = Case("MapAttention", ((2, 3, 4, 24), (2, 3, 4, 20)), {"dim_qk": 4, "dim_v": 16, "scale": 0.5})
#: Scores that are equal: PyTorch keeps any of them.
TIES = {"ties", "equal_scores"}


@pytest.mark.parametrize("name", [kernel.operator for kernel in KERNELS])
def test_bodies_in_pytorch_are_the_operators(name: str) -> None:
    operator, compared = registry.get(name), 0
    for example in operator.examples(np.random.default_rng(SEED)):
        hidden = name.endswith("Active") and not example.attributes.get("prune_rows", 1)
        if example.label in TIES or hidden:
            continue
        tensors = [torch.from_numpy(array) for array in example.inputs]
        body = torch_body(name, example.attributes, tensors)
        for got, want in zip(body(*tensors), operator.results(example), strict=True):
            assert tuple(got.shape) == want.shape
            clear: Any = np.s_[...]
            if operator.discontinuous:
                clear = operator.discontinuous.settled(example.inputs, example.attributes)
            error = np.abs(got.numpy() - want)[clear].max(initial=0)
            assert error <= 1e-5 * max(1.0, np.abs(want).max())
        compared += 1
    assert compared


@pytest.mark.parametrize("name", ["SparseRowsActive", "WindowAttentionPooled", "SelectTokens"])
def test_bodies_compute_in_half_precision(name: str) -> None:
    (example, *_) = registry.get(name).examples(np.random.default_rng(SEED))
    tensors = [torch.from_numpy(array).half() for array in example.inputs]
    (first, *_) = torch_body(name, example.attributes, tensors)(*tensors)
    assert first.dtype == torch.float16
    assert first.isfinite().all()


def test_the_parts_of_a_map_are_its_attention() -> None:
    attributes = {**MAP.attributes, "min": -1e30, "max": 1e30}
    qkv, x = MAP.inputs()
    q, k, v = parts_of(MAP, torch.from_numpy(qkv))
    found = torch_times._attention(MAP)(q, k, v).reshape(2, 3, 4, 16).numpy()
    want = registry.get("MapAttention").reference(qkv, x, **attributes)
    np.testing.assert_allclose(found, want[..., :16], atol=1e-5)


def test_a_pytorch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "cannot run on the GPU" in torch_times.why_no_torch()


def test_a_peer_that_fails_is_a_line_of_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> float:
        raise RuntimeError("out of beads\nand more")

    monkeypatch.setattr(torch_times, "_median_us", fail)
    found = torch_times.torch_times(
        Case("MapAttention", MAP.shapes, {**MAP.attributes, "min": -9.0, "max": 9.0}),
        "fp32",
        "cpu",
    )
    assert found["us"] == {}
    assert found["problems"] == dict.fromkeys(
        ("eager", "torch.compile", "sdpa"), "RuntimeError: out of beads"
    )


def test_the_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench_cuda, "code_of", lambda *arguments: b"code")
    options = ["--models", "shvit_s1", "--batch", "2", "--json", "-", "--fake", "gpu_fakes:idle"]
    assert bench_cuda.main([*options, "--no-torch"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert report["device"]["bandwidth_gb_s"] > 0
    assert (report["precision"], report["torch_missing"]) == ("fp16", "switched off")
    assert [entry["nodes"] for entry in report["kernels"]] == [4, 5]
    for entry in report["kernels"]:
        assert (entry["model"], entry["batch"]) == ("shvit_s1", 2)
        assert entry["kernel"] == "map_attention_fp16"
        assert entry["roofline_us"] > 0
        assert entry["torch"] is None
    assert "map_attention_fp16" in said.err
    assert "not timed: PyTorch: switched off" in said.err


def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_cuda.main(["--fake", "gpu_fakes:nothing"]) == 4
    assert "CUDA_ERROR_NO_DEVICE" in capsys.readouterr().err


def test_open_driver_takes_a_stand_in() -> None:
    with open_driver("gpu_fakes:idle") as driver:
        assert driver.sm == "89"
