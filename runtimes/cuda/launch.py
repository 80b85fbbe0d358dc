"""How a CUDA kernel is launched, said once, for the Python plugin, the C++ plugin and the tests.

Sizes are expressions, because TensorRT hands out sizes only when an engine runs. They are text
that is valid both in Python and in C: `+ - *`, `ceil_div(a, b)`, `floor_div(a, b)`, `imin(a, b)`,
`imax(a, b)`, `float_bits(a)` over the names `in<i>_<axis>` (size of input i along an axis), the
operator's attributes, and the names that `sizes` gave before.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PRECISIONS = ("fp32", "fp16", "bf16")
NAMESPACE = "attnc"
VERSION = "1"


@dataclass(frozen=True)
class CudaKernel:
    """The kernel of one operator: a single launch, without workspace.

    The C entries are `<entry>_<precision>`, with the arguments: pointers to the inputs, the
    int32 `scalars`, pointers to the outputs. `shared_bytes` is the dynamic shared memory,
    `static_bytes` what the source declares besides. `sizes` names intermediate results, in order.
    `outputs` gives the expressions of each output's sizes, `integer_inputs` and
    `integer_outputs` the indices of those that are int64 and not of the engine's precision.
    """

    operator: str
    entry: str
    source: str
    scalars: tuple[str, ...]
    outputs: tuple[tuple[str, ...], ...]
    grid: tuple[str, str, str]
    block: int
    shared_bytes: str = "0"
    static_bytes: int = 0
    sizes: Mapping[str, str] = field(default_factory=dict)
    integer_inputs: tuple[int, ...] = ()
    integer_outputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Launch:
    """A launch with its numbers: what cuLaunchKernel takes."""

    grid: tuple[int, int, int]
    block: int
    shared_bytes: int
    scalars: tuple[int, ...]
    outputs: tuple[tuple[int, ...], ...]


def launch_of(
    kernel: CudaKernel, shapes: Sequence[Sequence[int]], attributes: Mapping[str, Any]
) -> Launch:
    """The numbers for inputs of these shapes."""
    names: dict[str, Any] = {**FUNCTIONS}
    for name, value in attributes.items():
        if isinstance(value, (list, tuple)):
            names.update({f"{name}_{i}": int(item) for i, item in enumerate(value)})
        else:
            names[name] = value
    for i, shape in enumerate(shapes):
        names.update({f"in{i}_{axis}": int(size) for axis, size in enumerate(shape)})
    for name, text in kernel.sizes.items():
        names[name] = evaluate(text, names)
    x, y, z = (evaluate(text, names) for text in kernel.grid)
    return Launch(
        (x, y, z),
        kernel.block,
        evaluate(kernel.shared_bytes, names),
        tuple(evaluate(text, names) for text in kernel.scalars),
        tuple(tuple(evaluate(text, names) for text in shape) for shape in kernel.outputs),
    )


def evaluate(text: str, names: Mapping[str, Any]) -> int:
    """The value of an expression."""
    return int(eval(text, {"__builtins__": {}}, dict(names)))


def float_bits(value: float) -> int:
    """The int32 with the bits of a float32: kernels take integers only, as TensorRT's
    ahead-of-time plugins cannot pass floats."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])


FUNCTIONS: Mapping[str, Any] = {
    "ceil_div": lambda a, b: -(-a // b),
    "floor_div": lambda a, b: a // b,
    "imin": min,
    "imax": max,
    "float_bits": float_bits,
}
