"""A CUDA driver that notes what it is asked, and a TensorRT of empty base classes."""

from __future__ import annotations

import ctypes
import types
from typing import Any

from fake_tensorrt import TensorFormat


class Library:
    """libcuda: context 77, compute capability 8.7; `broken` names the call that fails."""

    def __init__(self, broken: str = "") -> None:
        self.broken, self.calls = broken, list[tuple[str, tuple[Any, ...]]]()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            return 719 if name == self.broken else int(getattr(self, f"_{name}")(*arguments) or 0)

        return call if name.startswith("cu") else lambda *arguments: None

    def _cuCtxGetCurrent(self, context: Any) -> None:
        context._obj.value = 77

    def _cuDeviceGetAttribute(self, number: Any, attribute: int, device: Any) -> None:
        number._obj.value = {75: 8, 76: 7}[attribute]

    def _cuModuleLoadData(self, module: Any, image: Any) -> None:
        module._obj.value = 88

    def _cuModuleGetFunction(self, function: Any, module: Any, name: bytes) -> None:
        function._obj.value = 99

    def _cuGetErrorName(self, status: int, text: Any) -> None:
        text._obj.value = b"CUDA_ERROR_LAUNCH_FAILED"

    def _cuGetErrorString(self, status: int, text: Any) -> None:
        text._obj.value = b"unspecified launch failure"

    def names(self) -> list[str]:
        """The calls in order."""
        return [name for name, _ in self.calls]

    def launched(self) -> tuple[Any, ...]:
        """The numbers of the last launch: grid, block, shared memory."""
        arguments = next(a for name, a in reversed(self.calls) if name == "cuLaunchKernel")
        assert all(isinstance(number, ctypes.c_uint) for number in arguments[1:8])
        return tuple(number.value for number in arguments[1:8])


def runtime(name: str) -> Any:
    """What a plugin needs of `tensorrt` or `tensorrt_rtx` to be defined."""
    bases = ("IPluginV3", "IPluginV3OneCore", "IPluginV3OneBuild", "IPluginV3OneRuntime")
    found = types.SimpleNamespace(__name__=name, TensorFormat=TensorFormat, int64="int64")
    found.__dict__.update({base: type(base, (), {}) for base in bases})
    found.__dict__.update(float32="fp32", float16="fp16", bfloat16="bf16")
    return found


def described(type_: str, dims: tuple[int, ...], format_: TensorFormat) -> Any:
    """A tensor as TensorRT describes it to a plugin while it builds."""
    return types.SimpleNamespace(
        desc=types.SimpleNamespace(type=type_, dims=dims, format=format_), dims=dims, type=type_
    )
