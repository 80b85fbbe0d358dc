"""The wrapper over the CUDA driver: what it calls, in which order, and what its errors say."""

from __future__ import annotations

import ctypes
from typing import Any

import gpu_fakes
import numpy as np
import pytest

from attnc.compiler.errors import ExitCode, MissingRuntimeError
from attnc.runtimes.cuda import driver as driver_module
from attnc.runtimes.cuda.device import find_devices
from attnc.runtimes.cuda.driver import CudaError, Driver, open_driver
from attnc.runtimes.cuda.launch import Launch

START = ["cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"]
LAUNCH = Launch((3, 2, 1), 64, 100_000, (7, -1), ((1,),))


def test_it_starts_the_primary_context_and_gives_it_back() -> None:
    library = gpu_fakes.Cuda("120")
    with Driver(library) as driver:
        assert library.names() == START
        assert (driver.name, driver.sm, driver.version) == (
            "Processor with a CUDA driver",
            "120",
            "13.0",
        )
    assert library.names()[-1] == "cuDevicePrimaryCtxRelease_v2"


def test_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "LIBRARY", "libnothing.so.1")
    with pytest.raises(MissingRuntimeError, match=r"no CUDA driver: libnothing.so.1") as caught:
        open_driver()
    assert "nvidia-smi" in caught.value.remedy
    assert caught.value.exit_code == ExitCode.MISSING_RUNTIME


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (gpu_fakes.Cuda(broken={"cuInit": 100}), "cuInit: CUDA_ERROR_NO_DEVICE .100.: no CUDA-cap"),
        (gpu_fakes.Cuda(count=0), "finds no GPU"),
    ],
)
def test_without_a_gpu(library: gpu_fakes.Cuda, words: str) -> None:
    with pytest.raises(MissingRuntimeError, match=words):
        Driver(library)


def test_a_failed_call_is_named_with_the_drivers_words() -> None:
    driver = Driver(gpu_fakes.Cuda(broken={"cuMemAlloc_v2": 700}))
    with pytest.raises(CudaError) as caught:
        driver.allocate(4)
    assert caught.value.message == (
        "cuMemAlloc_v2: CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered"
    )
    with pytest.raises(CudaError, match="too old: it lacks cuSomethingNew"):
        driver.call("cuSomethingNew")


def test_memory_goes_back_whatever_happens() -> None:
    library = gpu_fakes.Cuda()
    driver, array = Driver(library), np.arange(5, dtype=np.float16)
    with driver.memory(array.nbytes, 0) as (pointer, _):
        driver.upload(pointer, array)
        back = np.zeros_like(array)
        driver.download(back, pointer)
        np.testing.assert_array_equal(back, array)
    assert not library.held
    with pytest.raises(ValueError), driver.memory(1, 2):
        raise ValueError
    assert not library.held


def test_an_upload_is_over_before_another_stream_may_read_it() -> None:
    library = gpu_fakes.Cuda()
    driver = Driver(library)
    with driver.memory(4) as (pointer,):
        driver.upload(pointer, np.zeros(1, np.float32))
    assert library.names()[-3:-1] == ["cuMemcpyHtoD_v2", "cuCtxSynchronize"]


def launched(library: Any) -> tuple[Any, ...]:
    return next(arguments for name, arguments in library.calls if name == "cuLaunchKernel")


def test_a_launch_is_what_the_driver_gets() -> None:
    library = gpu_fakes.Cuda(idle=True)
    driver = Driver(library)
    with driver.module(b"code") as module, driver.stream() as stream:
        driver.launch(driver.function(module, "k_fp16"), LAUNCH, [1 << 40], [2 << 40], stream)
    names = library.names()
    assert names.index("cuModuleLoadData") < names.index("cuModuleGetFunction")
    assert names.index("cuFuncSetAttribute") < names.index("cuLaunchKernel")
    assert names[-2:] == ["cuStreamDestroy_v2", "cuModuleUnload"]
    function, *numbers, queue, places, extra = launched(library)
    assert [number.value for number in numbers] == [3, 2, 1, 64, 1, 1, 100_000]
    assert (function.value, queue.value, extra.value) == (1, stream.value, None)
    assert len(places) == 4
    attribute = next(a for name, a in library.calls if name == "cuFuncSetAttribute")
    assert [attribute[1].value, attribute[2].value] == [8, 100_000]


def test_arguments_are_inputs_scalars_outputs() -> None:
    seen: list[int] = []

    class Library(gpu_fakes.Cuda):
        def _cuLaunchKernel(self, *arguments: Any) -> None:
            kinds = (ctypes.c_uint64, ctypes.c_int32, ctypes.c_int32, ctypes.c_uint64)
            places = arguments[-2]
            seen.extend(kind.from_address(p).value for kind, p in zip(kinds, places, strict=True))

    driver = Driver(Library())
    driver.launch(ctypes.c_void_p(1), LAUNCH, [1 << 40], [2 << 40], ctypes.c_void_p())
    assert seen == [1 << 40, 7, -1, 2 << 40]


def test_time_is_between_two_events() -> None:
    library, samples = gpu_fakes.Cuda(idle=True), list[float]()
    driver = Driver(library)
    with driver.module(b"") as module, driver.stream() as stream:
        function = driver.function(module, "k")
        with driver.timed(stream, samples):
            driver.launch(function, LAUNCH, [], [], stream)
            driver.launch(function, LAUNCH, [], [], stream)
    assert samples == [2 * gpu_fakes.MS]
    events = [name for name in library.names() if "Event" in name]
    create, destroy = ["cuEventCreate"] * 2, ["cuEventDestroy_v2"] * 2
    record = ["cuEventRecord"] * 2
    assert events == [*create, *record, "cuEventSynchronize", "cuEventElapsedTime", *destroy]


def test_a_graph_runs_when_it_is_replayed() -> None:
    library = gpu_fakes.Cuda(idle=True)
    driver = Driver(library)
    with driver.module(b"") as module, driver.stream() as stream:
        function = driver.function(module, "k")
        graph = driver.capture(stream, lambda: driver.launch(function, LAUNCH, [], [], stream))
        assert library.clock == 0
        driver.replay(graph, stream)
        driver.replay(graph, stream)
        driver.drop(graph)
    assert library.clock == 2 * gpu_fakes.MS
    wanted = "cuStreamBeginCapture_v2 cuFuncSetAttribute cuLaunchKernel cuStreamEndCapture"
    wanted += " cuGraphInstantiateWithFlags cuGraphDestroy cuGraphLaunch cuGraphLaunch"
    begin = library.names().index("cuStreamBeginCapture_v2")
    assert " ".join(library.names()[begin : begin + 8]) == wanted


def test_a_capture_that_fails_is_ended() -> None:
    library = gpu_fakes.Cuda(broken={"cuLaunchKernel": 900})
    driver = Driver(library)
    with (
        driver.stream() as stream,
        pytest.raises(CudaError, match="cuLaunchKernel: CUDA_ERROR_STREAM_CAPTURE"),
    ):
        driver.capture(stream, lambda: driver.launch(ctypes.c_void_p(1), LAUNCH, [], [], stream))
    assert library.names()[-2:] == ["cuStreamEndCapture", "cuStreamDestroy_v2"]
    assert library.capturing is None


@pytest.mark.skipif(not find_devices(), reason="there is no GPU")
def test_a_real_gpu_copies_and_keeps_time() -> None:
    samples: list[float] = []
    array = np.arange(1 << 20, dtype=np.int32)
    with open_driver() as driver, driver.memory(array.nbytes, array.nbytes) as (a, b):
        assert driver.sm == find_devices()[0].capability.replace(".", "")
        driver.upload(a, array)
        with driver.stream() as stream:
            with driver.timed(stream, samples):
                driver.copy(b, a, array.nbytes, stream)
            graph = driver.capture(stream, lambda: driver.copy(b, a, array.nbytes, stream))
            driver.replay(graph, stream)
            driver.wait(stream)
            driver.drop(graph)
        back = np.zeros_like(array)
        driver.download(back, b)
    np.testing.assert_array_equal(back, array)
    assert samples[0] > 0
