"""Kernels checked and timed as on a GPU; the driver is a fake that runs them on the processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gpu_fakes
import numpy as np
import pytest

from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.runtimes.cuda import gpu_check
from attnc.runtimes.cuda.device import find_devices
from attnc.runtimes.cuda.driver import CudaError, Driver
from attnc.runtimes.cuda.emulation import LIMITS
from attnc.runtimes.cuda.emulation import worst_error as emulated_error
from attnc.runtimes.cuda.gpu_bench import (
    LAUNCHES,
    ROUNDS,
    WARM_UP,
    Case,
    Limits,
    bandwidth,
    flops_of,
    limits_of,
    moved_bytes,
    summary,
    time_kernel,
)
from attnc.runtimes.cuda.host import GUARD
from attnc.runtimes.cuda.kernels import KERNELS, kernel_of
from attnc.runtimes.cuda.launch import launch_of

SLOTS = Case("SlotDispatch", ((2, 20, 9), (2, 9, 40)), {}, "net", 2)


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A folder with PTX of all kernels, as far as the fake driver looks at it."""
    for kernel in KERNELS:
        (tmp_path / Path(kernel.source).with_suffix(".ptx").name).write_bytes(b"ptx")
    return tmp_path


@pytest.mark.parametrize("operator", ["MapAttention", "SelectTokens", "SlotDispatchAdd"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_error_is_that_of_the_emulation(operator: str, precision: str) -> None:
    driver = Driver(gpu_fakes.Cuda())
    found = gpu_check.worst_error(driver, b"", operator, precision)
    assert found == emulated_error(operator, precision)


def test_launches_are_those_of_the_kernel() -> None:
    library, kernel = gpu_fakes.Cuda(), kernel_of("SlotDispatch")
    assert kernel is not None
    driver = Driver(library)
    arrays = SLOTS.inputs()
    with driver.module(b"") as module:
        function = driver.function(module, "slot_dispatch_fp32")
        gpu_check.run_on_gpu(driver, function, kernel, "fp32", arrays, {})
    launch = launch_of(kernel, SLOTS.shapes, {})
    assert library.last == [*launch.grid, launch.block, 1, 1, launch.shared_bytes]
    assert not library.held


class Writes(gpu_fakes.Cuda):
    """Its kernels write one float32 `offset` bytes from the start of an argument, and no more."""

    def __init__(self, argument: int, offset: int) -> None:
        super().__init__()
        self.place = argument, offset

    def _cuLaunchKernel(self, *arguments: Any) -> None:
        import ctypes

        argument, offset = self.place
        address = ctypes.c_uint64.from_address(arguments[-2][argument]).value
        ctypes.c_float.from_address(address + offset).value = 5.0


@pytest.mark.parametrize(
    ("argument", "offset", "words"),
    [(0, 0, "wrote to an input"), (-1, -4, "outside of its output 0"), (-1, 6400, "outside")],
)
def test_writing_elsewhere_is_seen(argument: int, offset: int, words: str) -> None:
    kernel = kernel_of("SlotDispatch")
    assert kernel is not None
    assert np.prod(launch_of(kernel, SLOTS.shapes, {}).outputs[0]) * 4 == 6400
    assert GUARD > 1
    count = len(SLOTS.shapes) + len(kernel.scalars)
    driver = Driver(Writes(argument if argument >= 0 else count, offset))
    with driver.module(b"") as module:
        function = driver.function(module, "k")
        with pytest.raises(CudaError, match=words):
            gpu_check.run_on_gpu(driver, function, kernel, "fp32", SLOTS.inputs(), {})


def test_what_is_not_written_is_infinitely_wrong(compiled: Path) -> None:
    driver = Driver(gpu_fakes.Cuda(idle=True))
    (found,) = gpu_check.check_kernels(driver, ["SlotDispatch"], ["fp16"], compiled)
    assert (found.value, found.ok) == (np.inf, False)


def test_a_crash_is_a_finding(compiled: Path) -> None:
    driver = Driver(gpu_fakes.broken_kernels())
    (found,) = gpu_check.check_kernels(driver, ["SlotDispatch"], ["fp16"], compiled)
    assert not found.ok
    assert "cuStreamSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS" in found.problem


def test_the_code_of_this_gpu_comes_before_ptx(compiled: Path, tmp_path: Path) -> None:
    kernel = kernel_of("SlotDispatch")
    assert kernel is not None
    assert gpu_check.code_of(kernel, "89", compiled) == b"ptx"
    (compiled / "slots.sm_89.cubin").write_bytes(b"cubin")
    assert gpu_check.code_of(kernel, "89", compiled) == b"cubin"
    with pytest.raises(UsageError, match=r"neither slots.sm_89.cubin nor slots.ptx"):
        gpu_check.code_of(kernel, "89", tmp_path / "elsewhere")


def test_a_gpu_that_nvcc_does_not_know_gets_ptx(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any) -> Any:
        raise MissingRuntimeError("nvcc cannot compile for sm_999")

    def ptx(folder: Path, operators: Any) -> list[Path]:
        (folder / "slots.ptx").write_bytes(b"ptx")
        return [folder / "slots.ptx"]

    kernel = kernel_of("SlotDispatch")
    assert kernel is not None
    monkeypatch.setattr(gpu_check, "compile_cubins", unknown)
    monkeypatch.setattr(gpu_check, "compile_ptx", ptx)
    assert gpu_check.code_of(kernel, "999") == b"ptx"


@pytest.mark.parametrize(
    ("fake", "code", "words"),
    [
        ("library", 0, "ok     SlotDispatch fp16"),
        ("broken_kernels", 1, "FAILED SlotDispatch fp16"),
        ("nothing", 4, "CUDA_ERROR_NO_DEVICE"),
    ],
)
def test_the_command(
    compiled: Path, fake: str, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--operators", "SlotDispatch", "--precision", "fp16", "--kernels", str(compiled)]
    assert gpu_check.main([*options, "--fake", f"gpu_fakes:{fake}"]) == code
    said = capsys.readouterr()
    assert words in said.out + said.err


def test_the_commands_report(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--operators", "SlotDispatch", "--precision", "fp16", "--kernels", str(compiled)]
    assert gpu_check.main([*options, "--json", "--fake", "gpu_fakes:idle"]) == 1
    document = json.loads(capsys.readouterr().out)
    (finding,) = document["findings"]
    assert (finding["value"], finding["limit"]) == ("infinite", LIMITS["fp16"])
    assert "sm_89" in document["device"]


def test_an_unknown_operator_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(["--operators", "Nothing", "--fake", "gpu_fakes:idle"]) == 2
    assert "Nothing has no CUDA kernel" in capsys.readouterr().err


def test_a_kernel_is_timed_warm_and_cold() -> None:
    library, kernel = gpu_fakes.Cuda(idle=True), kernel_of("SlotDispatch")
    assert kernel is not None
    driver = Driver(library)
    timing = time_kernel(driver, b"", kernel, SLOTS, "fp16")
    assert timing.warm == [1e3 * gpu_fakes.MS] * ROUNDS
    assert timing.cold == [1e3 * gpu_fakes.MS] * ROUNDS
    names = library.names()
    assert names.count("cuLaunchKernel") == WARM_UP + LAUNCHES + ROUNDS
    assert names.count("cuGraphLaunch") == WARM_UP + ROUNDS
    assert names.index("cuMemsetD8Async") > names.index("cuGraphLaunch")
    assert not library.held
    entry = summary(timing, SLOTS, kernel, "fp16", Limits(1e9, None))
    assert entry["kernel"] == "slot_dispatch_fp16"
    assert entry["roofline_us"] == pytest.approx(1e6 * entry["bytes"] / 1e9, abs=1e-3)
    assert entry["share_of_roofline"] == pytest.approx(entry["roofline_us"] / 250, abs=1e-4)
    json.dumps(entry)


def test_the_roofline_is_the_slower_of_moving_and_computing() -> None:
    kernel = kernel_of("SlotDispatch")
    assert kernel is not None
    moved = moved_bytes(kernel, SLOTS, "fp16")
    assert moved == 2 * (2 * 20 * 9 + 2 * 9 * 40 + 2 * 20 * 40)
    assert moved_bytes(kernel, SLOTS, "fp32") == 2 * moved
    assert flops_of(SLOTS) > 0
    assert Limits(1e9, 1e12).least_us(1000, 10**6) == pytest.approx(1.0)
    assert Limits(1e9, 1e12).least_us(1000, 10**7) == pytest.approx(10.0)


@pytest.mark.parametrize(("sm", "known"), [("89", True), ("90", True), ("130", False)])
def test_the_peak_is_from_a_table_and_the_bandwidth_measured(sm: str, known: bool) -> None:
    driver = Driver(gpu_fakes.Cuda(sm))
    limits = limits_of(driver, "fp16")
    assert (limits.flops is not None) == known
    if sm == "89":  # 10 multiprocessors at 2 GHz
        assert limits.flops == 2 * 512 * 10 * 2e9
    assert bandwidth(driver) == pytest.approx(2 * (1 << 22) / (1e-3 * gpu_fakes.MS))


@pytest.mark.skipif(not find_devices(), reason="there is no GPU")
@pytest.mark.parametrize("operator", [kernel.operator for kernel in KERNELS])
def test_kernels_on_a_real_gpu(operator: str) -> None:
    assert gpu_check.main(["--operators", operator]) == 0
