"""A GPU for tests: CUDA's driver on this processor, and a TensorRT whose engines are ONNX files.

Device memory is ordinary memory, a launch runs the kernel as built for the processor with the very
arguments that the driver was given, and time is counted: each launch takes `MS` of it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from attnc.runtimes.cuda import host

MS = 0.25
NAMES = {
    100: (b"CUDA_ERROR_NO_DEVICE", b"no CUDA-capable device is detected"),
    218: (b"CUDA_ERROR_INVALID_PTX", b"a PTX JIT compilation failed"),
    700: (b"CUDA_ERROR_ILLEGAL_ADDRESS", b"an illegal memory access was encountered"),
    900: (b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", b"not permitted while capturing"),
}


class Cuda:
    """libcuda of a GPU of compute capability `sm`; `broken` maps a call to its error, and on an
    `idle` one kernels take time and do nothing."""

    def __init__(
        self,
        sm: str = "89",
        broken: dict[str, int] | None = None,
        count: int = 1,
        idle: bool = False,
    ):
        self.idle = idle
        self.sm, self.broken, self.count = sm, broken or {}, count
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.held: dict[int, Any] = {}
        self.functions: list[str] = []
        self.clock, self.events = 0.0, dict[int, float]()
        self.capturing: list[Any] | None = None
        self.graphs: list[list[Any]] = []
        self.last: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu") or not hasattr(type(self), f"_{name}"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            if name in self.broken:
                return self.broken[name]
            return int(getattr(self, f"_{name}")(*arguments) or 0)

        return call

    def names(self) -> list[str]:
        """The calls in order."""
        return [name for name, _ in self.calls]

    def _do(self, action: Any) -> None:
        """Now, or when the graph that is being captured runs."""
        if self.capturing is not None:
            self.capturing.append(action)
        else:
            action()

    def _cuInit(self, flags: Any) -> None: ...
    def _cuCtxSetCurrent(self, context: Any) -> None: ...
    def _cuCtxSynchronize(self) -> None: ...
    def _cuDevicePrimaryCtxRelease_v2(self, device: Any) -> None: ...
    def _cuModuleUnload(self, module: Any) -> None: ...
    def _cuFuncSetAttribute(self, *arguments: Any) -> None: ...
    def _cuStreamDestroy_v2(self, stream: Any) -> None: ...
    def _cuStreamSynchronize(self, stream: Any) -> None: ...
    def _cuEventSynchronize(self, event: Any) -> None: ...
    def _cuEventDestroy_v2(self, event: Any) -> None: ...
    def _cuGraphDestroy(self, graph: Any) -> None: ...
    def _cuGraphExecDestroy(self, graph: Any) -> None: ...

    def _cuGetErrorName(self, status: Any, text: Any) -> None:
        text._obj.value = NAMES[status.value][0]

    def _cuGetErrorString(self, status: Any, text: Any) -> None:
        text._obj.value = NAMES[status.value][1]

    def _cuDeviceGetCount(self, count: Any) -> None:
        count._obj.value = self.count

    def _cuDeviceGet(self, device: Any, ordinal: Any) -> None:
        device._obj.value = ordinal.value

    def _cuDeviceGetName(self, text: Any, size: Any, device: Any) -> None:
        text.value = b"Processor with a CUDA driver"

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> None:
        context._obj.value = 77

    def _cuDriverGetVersion(self, number: Any) -> None:
        number._obj.value = 13000

    def _cuDeviceGetAttribute(self, value: Any, number: Any, device: Any) -> None:
        known = {13: 2_000_000, 16: 10, 38: 1 << 20, 75: int(self.sm[:-1]), 76: int(self.sm[-1])}
        value._obj.value = known[number.value]

    def _cuMemGetInfo_v2(self, free: Any, whole: Any) -> None:
        free._obj.value, whole._obj.value = 1 << 24, 1 << 25

    def _cuMemAlloc_v2(self, pointer: Any, size: Any) -> None:
        room = ctypes.create_string_buffer(size.value + 256)
        address = -(-ctypes.addressof(room) // 256) * 256
        self.held[address] = room
        pointer._obj.value = address

    def _cuMemFree_v2(self, pointer: Any) -> None:
        del self.held[pointer.value]

    def _cuMemcpyHtoD_v2(self, pointer: Any, data: Any, size: Any) -> None:
        ctypes.memmove(pointer.value, data.value, size.value)

    def _cuMemcpyDtoH_v2(self, data: Any, pointer: Any, size: Any) -> None:
        ctypes.memmove(data.value, pointer.value, size.value)

    def _cuMemcpyDtoDAsync_v2(self, to: Any, origin: Any, size: Any, stream: Any) -> None:
        def copy() -> None:
            ctypes.memmove(to.value, origin.value, size.value)
            self.clock += MS

        self._do(copy)

    def _cuMemsetD8Async(self, pointer: Any, byte: Any, size: Any, stream: Any) -> None:
        self._do(lambda: ctypes.memset(pointer.value, byte.value, size.value))

    def _cuModuleLoadData(self, module: Any, image: Any) -> None:
        module._obj.value = 88

    def _cuModuleGetFunction(self, function: Any, module: Any, name: Any) -> None:
        self.functions.append(name.value.decode())
        function._obj.value = len(self.functions)

    def _cuLaunchKernel(self, function: Any, *rest: Any) -> None:
        *numbers, _stream, places, _extra = rest
        grid = (ctypes.c_uint * 3)(*(number.value for number in numbers[:3]))
        entry = self.functions[function.value - 1]
        self.last = [number.value for number in numbers]
        # The driver copies the arguments at the launch: what is queued may outlive them.
        copies = [ctypes.c_uint64(ctypes.c_uint64.from_address(p).value) for p in places]
        held = (ctypes.c_void_p * len(copies))(*map(ctypes.addressof, copies))

        def run(kept: Any = copies) -> None:
            if not self.idle:
                kernel = getattr(ctypes.CDLL(str(host.build())), f"{entry}_host")
                kernel(grid, self.last[3], self.last[6], held)
            self.clock += MS

        self._do(run)

    def _cuStreamCreate(self, stream: Any, flags: Any) -> None:
        stream._obj.value = 55

    def _cuEventCreate(self, event: Any, flags: Any) -> None:
        event._obj.value = len(self.events) + 1
        self.events[event._obj.value] = 0.0

    def _cuEventRecord(self, event: Any, stream: Any) -> None:
        self.events[event.value] = self.clock

    def _cuEventElapsedTime(self, spent: Any, begin: Any, end: Any) -> None:
        spent._obj.value = self.events[end.value] - self.events[begin.value]

    def _cuStreamBeginCapture_v2(self, stream: Any, mode: Any) -> None:
        self.capturing = []

    def _cuStreamEndCapture(self, stream: Any, graph: Any) -> None:
        self.graphs.append(self.capturing or [])
        self.capturing = None
        graph._obj.value = len(self.graphs)

    def _cuGraphInstantiateWithFlags(self, ready: Any, graph: Any, flags: Any) -> None:
        ready._obj.value = graph.value

    def _cuGraphLaunch(self, graph: Any, stream: Any) -> None:
        for action in self.graphs[graph.value - 1]:
            action()


LIBRARY: list[Cuda] = []


def library() -> Cuda:
    """The driver of this process, for `--fake gpu_fakes:library`."""
    if not LIBRARY:
        LIBRARY.append(Cuda())
    return LIBRARY[0]


def idle() -> Cuda:
    """A GPU on which nothing is computed."""
    return Cuda(idle=True)


def broken_kernels() -> Cuda:
    """A GPU on which every kernel crashes."""
    return Cuda(broken={"cuStreamSynchronize": 700})


def nothing() -> Cuda:
    """A driver without a GPU."""
    return Cuda(broken={"cuInit": 100})
