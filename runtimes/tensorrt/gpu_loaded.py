"""An engine on the GPU, in the process that holds it: loaded, fed, captured, timed.

Everything raises an AttncError with TensorRT's own words: UnsupportedError if it does not take
the plan, AttncError if it takes it and then fails.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import AttncError, UnsupportedError, UsageError
from attnc.runtimes.cuda.driver import CLOCK_KHZ, CudaError, Driver, Handle
from attnc.runtimes.cuda.host import decoded, encoded
from attnc.runtimes.tensorrt.child import load_plugin, make_logger

Array = NDArray[Any]
_FLOATS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16"}
_BYTES = {"FLOAT": 4, "HALF": 2, "BF16": 2, "INT32": 4, "INT64": 8, "BOOL": 1}


class LoadedEngine:
    """A plan in a runtime (`tensorrt` or `tensorrt_rtx`), with one float input and one output."""

    def __init__(self, trt: Any, driver: Driver, plan: Path, plugin: Path | None) -> None:
        """Load the plan; `plugin` is the bundle's plugin.py."""
        self.trt, self.driver, self.logger = trt, driver, make_logger(trt)
        self.pointers: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()
        self.graph: Handle | None = None
        self._stack = ExitStack()
        self.stream = self._stack.enter_context(driver.stream())
        if plugin is not None:
            load_plugin(str(plugin)).register(trt)
        self.engine, self.context = self._loaded(plan.read_bytes(), plan)
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        inputs = [n for n in names if self.engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.names = names
        self.input, self.output = inputs[0], next(n for n in names if n not in inputs)

    def _loaded(self, data: bytes, plan: Path) -> tuple[Any, Any]:
        try:
            self.runtime = self.trt.Runtime(self.logger)
            engine = self.runtime.deserialize_cuda_engine(data)
            context = None if engine is None else self._context(engine)
        except (RuntimeError, TypeError) as error:  # bindings of a failed constructor
            raise self._refusal(str(error), plan) from error
        if engine is None:
            raise self._refusal("the plan does not load", plan)
        if context is None:
            raise self._refusal("there is no execution context: memory may be short", plan)
        return engine, context

    def _context(self, engine: Any) -> Any:
        """For RTX, kernels of a shape are ready before its first call, not some time later."""
        strategies = getattr(self.trt, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is None:
            return engine.create_execution_context()
        config = engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        return engine.create_execution_context(config)

    def _refusal(self, problem: str, plan: Path) -> AttncError:
        return UnsupportedError(
            f"{self.version} on {self.driver.name} (sm_{self.driver.sm}): {problem}{self._words()}",
            where=str(plan),
            remedy="a plan is bound to its GPUs and its TensorRT: build it on this machine",
        )

    def _words(self) -> str:
        words = "; ".join(dict.fromkeys(self.logger.errors))
        return f": {words}" if words else ""

    @property
    def version(self) -> str:
        """As in "tensorrt_rtx 1.7.1"."""
        return f"{self.trt.__name__} {getattr(self.trt, '__version__', 'of unknown version')}"

    def about(self) -> dict[str, Any]:
        """Where it runs, for reports."""
        return {
            "gpu": self.driver.name,
            "sm": self.driver.sm,
            "cuda": self.driver.version,
            "runtime": self.version,
            "max_clock_mhz": self.driver.attribute(CLOCK_KHZ) // 1000,
        }

    def set_shape(self, shape: tuple[int, ...]) -> None:
        """Allocate for this input shape. Raises UsageError if the engine does not take it."""
        if shape == self.shape:
            return
        self._release()
        if not self.context.set_input_shape(self.input, shape):
            allowed = tuple(self.engine.get_tensor_shape(self.input))
            raise UsageError(f"the engine takes {allowed}, not {shape}{self._words()}")
        for name in self.names:
            sizes = tuple(self.context.get_tensor_shape(name))
            count = int(np.prod(sizes)) * _BYTES[self._type(name)]
            self.pointers[name] = self.driver.allocate(count)
            self.context.set_tensor_address(name, self.pointers[name])
        self.shape = shape

    def upload(self, array: Array) -> None:
        """Set the input, rounded to the engine's type."""
        precision = self._float(self.input)
        self.driver.upload(self.pointers[self.input], encoded(array, precision))

    def download(self) -> Array:
        """The output as float32."""
        precision = self._float(self.output)
        sizes = tuple(self.context.get_tensor_shape(self.output))
        held = encoded(np.zeros(sizes, np.float32), precision)
        self.driver.download(held, self.pointers[self.output])
        return decoded(held, precision)

    def _float(self, name: str) -> str:
        kind = self._type(name)
        if kind not in _FLOATS:
            raise UnsupportedError(f"{name!r} of the engine is {kind}, not a floating type")
        return _FLOATS[kind]

    def _type(self, name: str) -> str:
        return str(self.engine.get_tensor_dtype(name).name)

    def enqueue(self) -> None:
        """Queue the engine."""
        if not self.context.execute_async_v3(self.stream.value):
            raise AttncError(f"the engine did not run{self._words()}")

    def run(self, array: Array) -> Array:
        """The output for an input of any shape that the engine takes."""
        self.set_shape(array.shape)
        self.upload(array)
        self.enqueue()
        self.driver.wait(self.stream)
        return self.download()

    def capture(self) -> str:
        """Capture a call as a CUDA graph, after it ran; returns why that is not possible."""
        capturable = getattr(self.context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self.stream.value):
            return "TensorRT says that this engine cannot be captured"
        self._drop_graph()
        try:
            self.graph = self.driver.capture(self.stream, self.enqueue)
            self.driver.replay(self.graph, self.stream)
            self.driver.wait(self.stream)
        except AttncError as error:
            return error.message
        return ""

    def turn(self, lead_in: int, burst: int, *, graph: bool) -> list[float]:
        """Milliseconds of `burst` calls, one at a time, after `lead_in` that do not count."""
        call = self._call(graph=graph)
        for _ in range(lead_in):
            call()
        self.driver.wait(self.stream)
        samples: list[float] = []
        for _ in range(burst):
            with self.driver.timed(self.stream, samples):
                call()
        return samples

    def back_to_back(self, calls: int, *, graph: bool) -> float:
        """Milliseconds per call where each is queued before the last has ended."""
        call, spent = self._call(graph=graph), list[float]()
        with self.driver.timed(self.stream, spent):
            for _ in range(calls):
                call()
        return spent[0] / calls

    def _call(self, *, graph: bool) -> Callable[[], None]:
        if not graph:
            return self.enqueue
        held = self.graph
        if held is None:
            raise CudaError("there is no CUDA graph of this engine")
        return lambda: self.driver.replay(held, self.stream)

    def _drop_graph(self) -> None:
        if self.graph is not None:
            self.driver.drop(self.graph)
        self.graph = None

    def _release(self) -> None:
        self._drop_graph()
        for pointer in self.pointers.values():
            self.driver.free(pointer)
        self.pointers, self.shape = {}, ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._release()
        del self.context, self.engine, self.runtime  # in this order
        self._stack.close()
