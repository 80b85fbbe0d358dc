"""A TensorRT for tests: its plans are ONNX files, which ONNX Runtime runs on `gpu_fakes`' memory.

A call takes a hundredth of a millisecond for each node.
"""

from __future__ import annotations

import ctypes
import enum
import types
from typing import Any

import numpy as np
import onnx
from gpu_fakes import library

__version__ = "0.1"
SEVERITIES = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
CODES = {1: "FLOAT", 10: "HALF"}
ARRAYS = {"FLOAT": np.float32, "HALF": np.float16}
float32, float16, bfloat16, int64 = "fp32", "fp16", "bf16", "int64"


class ILogger:
    """Severities as in TensorRT."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = SEVERITIES


class TensorIOMode(enum.Enum):
    """Of a tensor."""

    INPUT = 1
    OUTPUT = 2


class TensorFormat(enum.Enum):
    """The one that plugins take."""

    LINEAR = 0


class ProfilingVerbosity:
    """Nothing is printed."""

    DETAILED = 2


class NetworkDefinitionCreationFlag:
    """As in TensorRT 10."""

    STRONGLY_TYPED = 1


class Registry:
    """Takes every plugin."""

    def get_creator(self, name: str, version: str, namespace: str) -> None:
        return None

    def register_creator(self, creator: Any, namespace: str) -> bool:
        return bool(creator.name)


def get_plugin_registry() -> Registry:
    return Registry()


class IPluginV3: ...


class IPluginV3OneCore: ...


class IPluginV3OneBuild: ...


class IPluginV3OneRuntime: ...


class IPluginCreatorV3One: ...


class PluginFieldType:
    FLOAT32, INT32, CHAR, UNKNOWN = range(4)


def PluginField(name: str, data: Any, kind: Any) -> Any:
    return types.SimpleNamespace(name=name, data=data, type=kind)


PluginFieldCollection = list


class Builder:
    """Gives back the file that was parsed."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> Any:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return types.SimpleNamespace(model=None, num_inputs=0)

    def create_builder_config(self) -> Any:
        profiles: list[Any] = []
        return types.SimpleNamespace(profiles=profiles, add_optimization_profile=profiles.append)

    def create_optimization_profile(self) -> Any:
        return types.SimpleNamespace(set_shape=lambda name, *shapes: None)

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        if network.model.producer_name == "unbuildable":
            self.logger.log(ILogger.ERROR, "no implementation for this node")
            return None
        return bytes(network.model.SerializeToString())


class OnnxParser:
    """Takes every ONNX file."""

    num_errors = 0

    def __init__(self, network: Any, logger: Any) -> None:
        self.network = network

    def parse(self, data: bytes) -> bool:
        self.network.model = onnx.ModelProto.FromString(data)
        self.network.num_inputs = 1
        value = self.network.model.graph.input[0]
        sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
        tensor = types.SimpleNamespace(name=value.name, shape=sizes)
        self.network.get_input = lambda index: tensor
        return True


class Runtime:
    """Loads what the builder gave."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
        try:
            return Engine(data)
        except Exception:
            self.logger.log(ILogger.ERROR, "this plan is for another GPU")
            return None


class Engine:
    """An ONNX file that is ready to run."""

    def __init__(self, data: bytes) -> None:
        import onnxruntime as ort

        self.model = onnx.ModelProto.FromString(data)
        self.session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
        values = (*self.model.graph.input[:1], *self.model.graph.output)
        self.tensors = {value.name: value.type.tensor_type for value in values}
        self.num_io_tensors, self.ms = len(self.tensors), 0.01 * len(self.model.graph.node)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        first = name == self.get_tensor_name(0)
        return TensorIOMode.INPUT if first else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return types.SimpleNamespace(name=CODES[self.tensors[name].elem_type])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size.dim_value or -1 for size in self.tensors[name].shape.dim)

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    """Runs it on memory that the driver gave."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.addresses, self.batch = engine, dict[str, int](), 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        known = self.engine.get_tensor_shape(name)
        self.batch = shape[0]
        return known[1:] == shape[1:] and known[0] in (-1, shape[0])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.batch, *self.engine.get_tensor_shape(name)[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 55
        library()._do(self._run)
        return True

    def _run(self) -> None:
        source, result = (self.engine.get_tensor_name(i) for i in range(2))
        (found,) = self.engine.session.run([result], {source: self._array(source).copy()})
        self._array(result)[...] = found
        library().clock += self.engine.ms

    def _array(self, name: str) -> Any:
        kind = ARRAYS[self.engine.get_tensor_dtype(name).name]
        shape = self.get_tensor_shape(name)
        count = int(np.prod(shape)) * np.dtype(kind).itemsize
        room = (ctypes.c_char * count).from_address(self.addresses[name])
        return np.frombuffer(room, kind).reshape(shape)
