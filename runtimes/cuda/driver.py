"""The CUDA driver by ctypes: memory, modules, launches, events, streams and graphs of one GPU.

Nothing but NVIDIA's driver is needed. Every argument is wrapped, because ctypes would pass plain
integers as 32 bits; every error names the call and has the driver's own words.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from attnc.compiler.errors import AttncError, MissingRuntimeError
from attnc.runtimes.cuda.launch import Launch

Array = NDArray[Any]
Handle = ctypes.c_void_p

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: CU_DEVICE_ATTRIBUTE_*
CLOCK_KHZ, MULTIPROCESSORS, L2_BYTES, MAJOR, MINOR = 13, 16, 38, 75, 76
#: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: 48 KB less what the kernel declares, unless set.
DYNAMIC_SHARED_BYTES = 8
#: CU_STREAM_NON_BLOCKING, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_NON_BLOCKING, _THREAD_LOCAL = 1, 1
_REMEDY = "an NVIDIA GPU with its driver: `nvidia-smi` must list it"


class CudaError(AttncError):
    """A call of the CUDA driver failed; the message has its name and the driver's words."""


def open_driver(fake: str = "") -> Driver:
    """The driver with the first GPU's context; `CUDA_VISIBLE_DEVICES` says which is first.

    `fake`, as in `package.module:function`, gives the library instead, for tests. Raises
    MissingRuntimeError where there is no driver or no GPU.
    """
    if fake:
        module, _, function = fake.partition(":")
        return Driver(getattr(importlib.import_module(module), function)())
    try:
        return Driver(ctypes.CDLL(LIBRARY))
    except OSError as error:
        raise MissingRuntimeError(
            f"there is no CUDA driver: {LIBRARY} does not load ({error})", remedy=_REMEDY
        ) from error


class Driver:
    """One GPU; its primary context, which PyTorch and TensorRT use too, is made current."""

    def __init__(self, library: Any) -> None:
        """Raises MissingRuntimeError if the driver does not start or has no GPU."""
        self.library = library
        count, self._device, context = ctypes.c_int(), ctypes.c_int(), Handle()
        try:
            self.call("cuInit", ctypes.c_uint(0))
            self.call("cuDeviceGetCount", ctypes.byref(count))
        except CudaError as error:
            raise MissingRuntimeError(
                f"the CUDA driver does not start: {error.message}", remedy=_REMEDY
            ) from error
        if not count.value:
            raise MissingRuntimeError("the CUDA driver finds no GPU", remedy=_REMEDY)
        self.call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(0))
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self.call("cuCtxSetCurrent", context)

    def close(self) -> None:
        """Give the context back; what was allocated in it is gone once nobody holds it."""
        with suppress(CudaError):
            self.call("cuDevicePrimaryCtxRelease_v2", self._device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver. Raises CudaError if it fails or does not exist."""
        try:
            function = getattr(self.library, name)
        except AttributeError:
            raise CudaError(
                f"the CUDA driver is too old: it lacks {name}", remedy="install a newer driver"
            ) from None
        status = function(*arguments)
        if status:
            raise CudaError(f"{name}: {self._words(status)}")

    def _words(self, status: int) -> str:
        """Name and description of an error code."""
        words = []
        for function in ("cuGetErrorName", "cuGetErrorString"):
            text = ctypes.c_char_p()
            getattr(self.library, function)(ctypes.c_int(status), ctypes.byref(text))
            words.append((text.value or b"unknown").decode(errors="replace"))
        return f"{words[0]} ({status}): {words[1]}"

    @property
    def name(self) -> str:
        """As in "NVIDIA L4"."""
        text = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", text, ctypes.c_int(len(text)), self._device)
        return text.value.decode(errors="replace")

    @property
    def sm(self) -> str:
        """The compute capability as in "89"."""
        return f"{self.attribute(MAJOR)}{self.attribute(MINOR)}"

    @property
    def version(self) -> str:
        """The newest CUDA that the driver runs, as in "13.0"."""
        number = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def attribute(self, number: int) -> int:
        """One of CU_DEVICE_ATTRIBUTE_*."""
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), self._device)
        return value.value

    def free_bytes(self) -> int:
        """Memory that can be allocated."""
        free, whole = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(whole))
        return free.value

    def allocate(self, size: int) -> int:
        """The address of `size` bytes."""
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)))
        return pointer.value

    def free(self, pointer: int) -> None:
        """The end of an allocation."""
        self.call("cuMemFree_v2", ctypes.c_uint64(pointer))

    @contextmanager
    def memory(self, *sizes: int) -> Iterator[list[int]]:
        """Allocations that end with the block."""
        pointers: list[int] = []
        try:
            for size in sizes:
                pointers.append(self.allocate(size))
            yield pointers
        finally:
            for pointer in pointers:
                with suppress(CudaError):  # after a crash all fail, and the first error counts
                    self.free(pointer)

    def upload(self, pointer: int, array: Array) -> None:
        """Copy a contiguous array to the device; it is there afterwards, for every stream."""
        data, size = Handle(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(pointer), data, size)
        self.call("cuCtxSynchronize")  # the call may return while a small copy is on its way

    def download(self, array: Array, pointer: int) -> None:
        """Copy from the device into a contiguous array, after all that was queued."""
        self.call("cuCtxSynchronize")
        data, size = Handle(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        self.call("cuMemcpyDtoH_v2", data, ctypes.c_uint64(pointer), size)

    def copy(self, to: int, origin: int, size: int, stream: Handle) -> None:
        """Queue a copy on the device."""
        addresses = ctypes.c_uint64(to), ctypes.c_uint64(origin)
        self.call("cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(size), stream)

    def fill(self, pointer: int, byte: int, size: int, stream: Handle) -> None:
        """Queue a memset."""
        how = ctypes.c_uint64(pointer), ctypes.c_ubyte(byte), ctypes.c_size_t(size)
        self.call("cuMemsetD8Async", *how, stream)

    @contextmanager
    def module(self, image: bytes) -> Iterator[Handle]:
        """A loaded cubin, fatbin or PTX."""
        module, held = Handle(), ctypes.create_string_buffer(image)
        self.call("cuModuleLoadData", ctypes.byref(module), held)
        try:
            yield module
        finally:
            with suppress(CudaError):
                self.call("cuModuleUnload", module)

    def function(self, module: Handle, entry: str) -> Handle:
        """A kernel of a module by its name."""
        function = Handle()
        name = ctypes.c_char_p(entry.encode())
        self.call("cuModuleGetFunction", ctypes.byref(function), module, name)
        return function

    def launch(
        self,
        function: Handle,
        launch: Launch,
        inputs: Sequence[int],
        outputs: Sequence[int],
        stream: Handle,
    ) -> None:
        """Queue a kernel: inputs, int32 scalars, outputs."""
        if launch.shared_bytes:
            wanted = ctypes.c_int(DYNAMIC_SHARED_BYTES), ctypes.c_int(launch.shared_bytes)
            self.call("cuFuncSetAttribute", function, *wanted)
        values: list[Any] = [
            *map(ctypes.c_uint64, inputs),
            *map(ctypes.c_int32, launch.scalars),
            *map(ctypes.c_uint64, outputs),
        ]
        places = (Handle * len(values))(*(ctypes.addressof(value) for value in values))
        numbers = (*launch.grid, launch.block, 1, 1, launch.shared_bytes)
        self.call(
            "cuLaunchKernel", function, *map(ctypes.c_uint, numbers), stream, places, Handle()
        )

    @contextmanager
    def stream(self) -> Iterator[Handle]:
        """A stream that waits for no other."""
        stream = Handle()
        self.call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(_NON_BLOCKING))
        try:
            yield stream
        finally:
            with suppress(CudaError):
                self.call("cuStreamDestroy_v2", stream)

    def wait(self, stream: Handle) -> None:
        """Until all of the stream is done. Raises CudaError if a kernel crashed."""
        self.call("cuStreamSynchronize", stream)

    @contextmanager
    def timed(self, stream: Handle, milliseconds: list[float]) -> Iterator[None]:
        """Append the GPU's milliseconds between the first and the last that the block queues.

        Waits for the end, so that nothing else runs beside it.
        """
        begin, end, spent = Handle(), Handle(), ctypes.c_float()
        for event in (begin, end):
            self.call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(0))
        try:
            self.call("cuEventRecord", begin, stream)
            yield
            self.call("cuEventRecord", end, stream)
            self.call("cuEventSynchronize", end)
            self.call("cuEventElapsedTime", ctypes.byref(spent), begin, end)
            milliseconds.append(float(spent.value))
        finally:
            for event in (begin, end):
                with suppress(CudaError):
                    self.call("cuEventDestroy_v2", event)

    def capture(self, stream: Handle, queue: Callable[[], None]) -> Handle:
        """A graph of what `queue` puts on the stream; nothing of it runs.

        Modules must be loaded before. Raises CudaError if something cannot be captured.
        """
        graph, ready = Handle(), Handle()
        self.call("cuStreamBeginCapture_v2", stream, ctypes.c_int(_THREAD_LOCAL))
        try:
            queue()
        except BaseException:
            with suppress(CudaError):
                self.call("cuStreamEndCapture", stream, ctypes.byref(graph))
            raise
        self.call("cuStreamEndCapture", stream, ctypes.byref(graph))
        try:
            flags = ctypes.c_ulonglong(0)
            self.call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, flags)
        finally:
            with suppress(CudaError):
                self.call("cuGraphDestroy", graph)
        return ready

    def replay(self, graph: Handle, stream: Handle) -> None:
        """Queue a graph."""
        self.call("cuGraphLaunch", graph, stream)

    def drop(self, graph: Handle) -> None:
        """The end of a graph."""
        with suppress(CudaError):
            self.call("cuGraphExecDestroy", graph)
