"""A stand-in for `tensorrt` and `tensorrt.plugin`, to call the ahead-of-time plugins without them.

It follows what TensorRT 11.4 asks of quick plugins: which arguments each function has and what
it returns. Its sizes count with integers but, like TensorRT's, only from the left and never two
plain integers.
"""

from __future__ import annotations

import enum
import inspect
import operator
import types
from typing import Any


class TensorFormat(enum.Enum):
    """One format that the plugins take, and two that they do not."""

    LINEAR = 0
    HWC8 = 2
    HWC = 8


class ShapeExpr:
    """A size."""

    def __init__(self, value: int | ShapeExpr) -> None:
        self.number: int = value.number if isinstance(value, ShapeExpr) else value
        assert type(self.number) is int

    def _join(self, count: Any, other: int | ShapeExpr) -> ShapeExpr:
        return ShapeExpr(count(self.number, ShapeExpr(other).number))

    def __add__(self, other: int | ShapeExpr) -> ShapeExpr:
        return self._join(operator.add, other)

    def __sub__(self, other: int | ShapeExpr) -> ShapeExpr:
        return self._join(operator.sub, other)

    def __mul__(self, other: int | ShapeExpr) -> ShapeExpr:
        return self._join(operator.mul, other)

    def __floordiv__(self, other: int | ShapeExpr) -> ShapeExpr:
        return self._join(operator.floordiv, other)


class SymInt32(ShapeExpr):
    """An argument of a kernel."""


class SymIntExprs(list[Any]):
    """The arguments of a kernel besides its tensors."""

    def __init__(self, length: int) -> None:
        super().__init__([None] * length)


class KernelLaunchParams:
    """Grid, block and shared memory."""

    def __init__(self) -> None:
        for name in ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z"):
            self.__dict__[name] = SymInt32(1)
        self.__dict__["shared_mem"] = SymInt32(0)

    def __setattr__(self, name: str, value: int | ShapeExpr) -> None:
        assert name in self.__dict__
        self.__dict__[name] = SymInt32(value)

    def grid(self) -> tuple[int, ...]:
        """The three sizes of the grid."""
        return tuple(self.__dict__[name].number for name in ("grid_x", "grid_y", "grid_z"))


class TensorDesc:
    """A tensor: symbolic sizes, numbers, type and format."""

    def __init__(self, shape: Any, dtype: str, format_: TensorFormat = TensorFormat.LINEAR) -> None:
        self.shape_expr = [ShapeExpr(size) for size in shape]
        self.shape = [size.number for size in self.shape_expr]
        self.dtype, self.format = dtype, format_


class AutoTuneCombination:
    """Types and formats of all tensors."""

    def __init__(self, io_types: str, layouts: str) -> None:
        self.types, self.formats = io_types.split(","), layouts.split(",")
        assert len(self.types) == len(self.formats)


def modules() -> dict[str, types.ModuleType]:
    """What `import tensorrt` and `import tensorrt.plugin` find; `.registry` has the plugins."""
    trt, trtp = types.ModuleType("tensorrt"), types.ModuleType("tensorrt.plugin")
    registry: dict[str, dict[str, Any]] = {}

    def known(what: str, extra: tuple[str, ...]) -> Any:
        def keeping(name: str) -> Any:
            def keep(function: Any) -> Any:
                entry = registry.setdefault(name, {})
                arguments = tuple(inspect.signature(function).parameters)
                entry.setdefault("arguments", arguments)
                assert arguments == (*entry["arguments"], *extra)
                entry[what] = function
                return function

            return keep

        return keeping

    trt.__dict__.update(float32="fp32", float16="fp16", bfloat16="bf16", int64="int64")
    trt.__dict__.update(TensorFormat=TensorFormat, plugin=trtp)
    for thing in (ShapeExpr, SymInt32, SymIntExprs, KernelLaunchParams, TensorDesc):
        trtp.__dict__[thing.__name__] = thing
    trtp.__dict__.update(
        AutoTuneCombination=AutoTuneCombination,
        registry=registry,
        register=known("register", ()),
        autotune=known("autotune", ("outputs",)),
        aot_impl=known("aot_impl", ("outputs", "tactic")),
        cdiv=lambda a, b: ShapeExpr(-(-ShapeExpr(a).number // ShapeExpr(b).number)),
        min=lambda a, b: ShapeExpr(min(ShapeExpr(a).number, ShapeExpr(b).number)),
        max=lambda a, b: ShapeExpr(max(ShapeExpr(a).number, ShapeExpr(b).number)),
        from_shape_expr=TensorDesc,
    )
    return {"tensorrt": trt, "tensorrt.plugin": trtp}
