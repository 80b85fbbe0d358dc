"""`attnc verify` and `attnc bench` of a TensorRT bundle, without a GPU and on a fake one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import ParityError
from attnc.compiler.manifest import TensorrtEntry
from attnc.runtimes.cuda.device import Device, find_devices
from attnc.runtimes.cuda.kernels import KERNELS
from attnc.runtimes.measure import Effort
from attnc.runtimes.tensorrt import gpu, gpu_bench, gpu_verify, verify
from attnc.runtimes.tensorrt.gpu import Host
from attnc.runtimes.tensorrt.gpu_bench import Candidate, Setting, run_gpu_bench
from attnc.runtimes.tensorrt.gpu_verify import Inputs, check_kernel, check_outputs

pytestmark = pytest.mark.usefixtures("importable_data")

HOST = Host("gpu_fake_trt", "gpu_fakes:library")
TESTS = Path(__file__).resolve().parents[2]
QUICK = ["--sittings", "2", "--rounds", "2", "--burst", "3"]
MISSING = 4


def without_rtx(patch: pytest.MonkeyPatch) -> None:
    """Exports build nothing, which takes seconds."""
    from attnc.compiler.cli import emit_tensorrt, tensorrt_work

    for module in (emit_tensorrt, tensorrt_work):
        patch.setattr(module, "rtx_version", lambda: None)


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small float16 network of batch 2 for sm_89, without a plan; not to be changed."""
    import attnc

    output = tmp_path_factory.mktemp("gpu") / "b"
    with pytest.MonkeyPatch.context() as patch:
        without_rtx(patch)
        patch.setattr(sys, "path", [*sys.path, str(TESTS / "data")])
        attnc.export("tiny_net:build", output=output, target="tensorrt", profile="rtx4090", batch=2)
    return output


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU of sm_89 and the fake TensorRT, nothing to build with elsewhere."""
    monkeypatch.setitem(gpu.HOSTS, "tensorrt-rtx", HOST)
    for module in (gpu, verify):
        monkeypatch.setattr(module, "find_devices", lambda: [Device("Fake", "8.9")])
    monkeypatch.setattr(verify, "rtx_version", lambda: None)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def entry_of(bundle: Bundle, **changes: Any) -> TensorrtEntry:
    assert bundle.manifest.tensorrt is not None
    return bundle.manifest.tensorrt.model_copy(update=changes)


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in report["checks"]}


@pytest.mark.usefixtures("device")
def test_verify_on_a_gpu(cli: Any, bundle_path: Path) -> None:
    done = cli("verify", bundle_path, "--json", "-")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    found = statuses(report)
    assert found["gpu/plan"] == "build-only"
    assert found["gpu/latency"] == "not-verified"
    outputs = [check for check in report["checks"] if check["name"].startswith("gpu/outputs/")]
    names = {check["name"].removeprefix("gpu/outputs/") for check in outputs}
    assert {"recorded-seed0", "source-seed11-batch2"} <= names
    for check in outputs:
        assert check["status"] == "verified"
        assert (check["value"], check["limit"]) == (0.0, 1e-2)
        assert "against ONNX Runtime; the plain export is off by" in check["reason"]


def test_verify_without_a_gpu(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "find_devices", list)
    bundle = Bundle.open(bundle_path)
    entry = entry_of(bundle, plugins=("MapAttention",))
    checks = verify._gpu(bundle, entry, Inputs(pytest.fail))
    assert [check.name for check in checks] == [
        "kernel/MapAttention/gpu",
        "gpu/outputs",
        "gpu/latency",
    ]
    assert {check.status for check in checks} == {"not-verified"}
    assert all("compute capability 8.9" in check.reason for check in checks)


@pytest.fixture
def kernels(bundle_path: Path, tmp_path: Path) -> Any:
    """A bundle as `check_kernel` sees it, with compiled kernels."""
    from types import SimpleNamespace

    (tmp_path / "kernels").mkdir()
    for kernel in KERNELS:
        name = Path(kernel.source).with_suffix(".ptx").name
        (tmp_path / "kernels" / name).write_bytes(b"ptx")
    return SimpleNamespace(path=tmp_path, manifest=SimpleNamespace(precision="fp16"))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    ("fake", "promised", "status", "words"),
    [
        ("library", True, "verified", "on Processor with a CUDA driver, sm_89"),
        ("idle", False, "failed", "was not written"),
        ("broken_kernels", True, "failed", "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("broken_kernels", False, "not-verified", "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("nothing", True, "failed", "CUDA_ERROR_NO_DEVICE"),
        ("no_such_function", False, "not-verified", "AttributeError"),
    ],
)
def test_kernels_on_a_gpu(kernels: Any, fake: str, promised: bool, status: str, words: str) -> None:
    host = Host("gpu_fake_trt", f"gpu_fakes:{fake}")
    check = check_kernel(kernels, "SlotDispatch", host, promised=promised)
    assert (check.name, check.status) == ("kernel/SlotDispatch/gpu", status)
    assert words in check.reason


def test_a_refused_plan_is_not_verified_in_the_runtimes_words(
    bundle_path: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(bundle_path)
    entry = entry_of(bundle, plan="manifest.json")
    first, *outputs = check_outputs(bundle, entry, HOST, Inputs(_nothing))
    assert (first.name, first.status) == ("gpu/plan", "not-verified")
    assert "this plan is for another GPU" in first.reason
    assert {check.status for check in outputs} == {"verified"}


def test_a_plan_that_loads_is_the_one_that_runs(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)  # to the fake TensorRT a model is a plan
    first, *_ = check_outputs(bundle, entry_of(bundle, plan="model.onnx"), HOST, Inputs(_nothing))
    assert (first.name, first.status) == ("gpu/plan", "verified")
    assert "gpu_fake_trt 0.1 on Processor" in first.reason


def _nothing() -> Any:
    from attnc.compiler.errors import UnsupportedError

    raise UnsupportedError("the source is not here")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (Host("no_such_trt"), "needs the Python package no-such-trt"),
        (Host("gpu_fake_trt", "gpu_fakes:nothing"), "CUDA_ERROR_NO_DEVICE"),
    ],
)
def test_outputs_that_cannot_be_had(bundle_path: Path, host: Host, words: str) -> None:
    bundle = Bundle.open(bundle_path)
    (check,) = check_outputs(bundle, entry_of(bundle), host, Inputs(_nothing))
    assert (check.name, check.status) == ("gpu/outputs", "not-verified")
    assert words in check.reason


def test_a_wrong_engine_fails(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(bundle_path)
    monkeypatch.setattr(gpu_verify.GpuEngine, "run", lambda self, array: _wrong(array))
    _, *outputs = check_outputs(bundle, entry_of(bundle), HOST, Inputs(_nothing))
    assert {check.status for check in outputs} == {"failed"}


def _wrong(array: Any) -> Any:
    import numpy as np

    return np.ones((len(array), 10), np.float32)


def test_bench_without_a_gpu(cli: Any, bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_devices", list)
    done = cli("bench", bundle_path)
    assert done.code == MISSING
    assert "needs an NVIDIA GPU of compute capability 8.9" in done.err
    assert "attnc verify" in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threads", "1"], "--threads means nothing for a TensorRT bundle"),
        (["--budget", "9"], "--budget means nothing"),
        (["--against", "ort"], "not timed against ort"),
    ],
)
def test_options_that_mean_nothing(
    cli: Any, bundle_path: Path, options: list[str], words: str
) -> None:
    done = cli("bench", bundle_path, *options)
    assert done.code == 2
    assert words in done.err


@pytest.mark.usefixtures("device")
def test_bench_on_a_gpu(cli: Any, bundle_path: Path) -> None:
    done = cli("bench", bundle_path, "--against", "plain", *QUICK, "--json", "-")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["model"], report["precision"]) == ("tiny_net:build", "fp16")
    rows = [(row["runner"], row["mode"], row["batch"]) for row in report["results"]]
    assert rows == [(name, mode, 2) for name in ("attnc", "plain") for mode in ("calls", "graph")]
    for row in report["results"]:
        assert row["n"] == len(row["samples_ms"]) == 12
        assert row["median_ms"] <= row["p90_ms"] <= row["p99_ms"]
        speed = 1e3 * row["batch"] / row["median_ms"]  # the fake GPU does nothing at once
        assert row["pictures_per_second"] == pytest.approx(speed, rel=1e-2)
        assert set(row["ratio_to"]) == ({"plain"} if row["runner"] == "attnc" else set())
    ours, theirs = report["results"][0], report["results"][2]
    assert ours["ratio_to"]["plain"] == pytest.approx(
        ours["median_ms"] / theirs["median_ms"], rel=1e-2
    )
    assert report["device"]["gpu"] == "Processor with a CUDA driver"
    assert {"sm", "cuda", "runtime", "max_clock_mhz", "nvidia_smi"} <= set(report["device"])
    assert report["method"]["burst"] == 3
    assert report["method"]["lead_in"] == gpu_bench.LEAD_IN
    assert report["left_out"] == []
    assert report["machine"]["cores"] >= 1


@pytest.mark.usefixtures("device")
def test_another_batch_is_exported_for_the_benchmark(
    cli: Any, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_rtx(monkeypatch)
    done = cli("bench", bundle_path, "--batch", "3", *QUICK)
    assert done.code == 0, done.err
    assert "exporting for batch 3: the bundle has batch 2" in done.err
    assert "ours / theirs" in done.out


def test_an_engine_without_a_graph_is_said(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = gpu.GpuEngine.prepare

    def without(self: Any, *arguments: Any) -> Any:
        output, problem = prepare(self, *arguments)
        return output, "cannot be captured" if self.name == "plain" else problem

    monkeypatch.setattr(gpu.GpuEngine, "prepare", without)
    report = run_gpu_bench(HOST, [_setting(bundle_path)], Effort(1, 2, 2), 1.0)
    rows = [(row["runner"], row["mode"]) for row in report["results"]]
    assert rows == [("attnc", "calls"), ("attnc", "graph"), ("plain", "calls")]
    (miss,) = report["left_out"]
    assert (miss["runner"], miss["reason"]) == ("plain as a CUDA graph", "cannot be captured")
    assert report["results"][1]["ratio_to"] == {}


def _setting(bundle_path: Path, other: Path | None = None) -> Setting:
    plan = bundle_path / "model.onnx"
    return Setting(2, (2, 3, 24, 24), (Candidate("attnc", plan), Candidate("plain", other or plan)))


def test_different_engines_are_not_timed(bundle_path: Path, tmp_path: Path) -> None:
    model = onnx.load(bundle_path / "model.onnx")
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.raw_data = bytes(len(weights.raw_data))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ParityError, match="do not compute the same"):
        run_gpu_bench(HOST, [_setting(bundle_path, tmp_path / "other.onnx")], Effort(1, 1, 1), 1e-2)


@pytest.mark.skipif(not find_devices(), reason="there is no GPU")
def test_bench_on_a_real_gpu(cli: Any, bundle_path: Path) -> None:
    if not gpu.HOSTS["tensorrt-rtx"].installed:
        pytest.skip("tensorrt-rtx is not installed")
    done = cli("bench", bundle_path, *QUICK, "--json", "-")
    if done.code == 3:
        pytest.skip(f"refused: {done.err}")
    assert done.code == 0, done.err
    assert all(row["median_ms"] > 0 for row in json.loads(done.out)["results"])
