"""What a fused operator is: one declaration that passes, targets, kernels and tests all read.

The body is ONNX function text over standard operators, so that any ONNX runtime can run the
operator, and the reference is float64 NumPy, so that any kernel can be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

DOMAIN = "attnc"
DOMAIN_VERSION = 1
BODY_OPSET = 20
#: Bounds that clamp nothing: the finite ends of float32 (infinities do not survive every parser).
NO_MIN, NO_MAX = -3.4028234663852886e38, 3.4028234663852886e38

Array = NDArray[Any]
Attributes = Mapping[str, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """Arithmetic and least traffic of one call: `flops` (2 per multiply-add), `bytes`."""

    flops: int
    bytes: int


@dataclass(frozen=True)
class Example:
    """One test input: arrays in the order of the operator's inputs, and its attributes."""

    label: str
    inputs: tuple[Array, ...]
    attributes: Attributes


@dataclass(frozen=True)
class Choosing:
    """Of an operator that hides what it does not choose.

    `chooses` tells from the input shapes and the attributes whether anything can be hidden;
    `settled`, from the inputs and the attributes, which elements of the output no near-tie turns.
    """

    chooses: Callable[[Sequence[Shape], Attributes], bool]
    settled: Callable[[Sequence[Array], Attributes], Array]


@dataclass(frozen=True)
class Operator:
    """A fused operator of the domain `attnc`.

    `attributes` maps each name to its kind, "int", "ints" or "float". `body` is the text between
    the braces of an ONNX function. `reference` takes the arrays and the attributes and computes
    in float64. `output_shape` takes the input shapes and the attributes. Both give one array or
    shape, or a tuple where there are several outputs. `examples` makes the hard inputs from a
    random generator.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, str]
    body: str
    reference: Callable[..., Any]
    output_shape: Callable[[Sequence[Shape], Attributes], Any]
    examples: Callable[[np.random.Generator], list[Example]]
    cost: Callable[[Sequence[Shape], Attributes], Cost]
    doc: str = field(default="")
    #: What it chooses, if it hides the rest, so that rounding at a near-tie changes its output.
    discontinuous: Choosing | None = None
    #: Relative error that rounding inside of it may make, where it computes in fewer bits.
    rounding: float = 0.0

    def results(self, example: Example) -> tuple[Array, ...]:
        """What the reference makes of an example, one array for each output."""
        found = self.reference(*example.inputs, **example.attributes)
        return found if isinstance(found, tuple) else (found,)

    def output_shapes(self, shapes: Sequence[Shape], attributes: Attributes) -> tuple[Shape, ...]:
        """The shape of each output."""
        found = self.output_shape(shapes, attributes)
        return tuple(found) if len(self.outputs) > 1 else (found,)

    def text(self) -> str:
        """The whole function in ONNX text form."""
        head = f'<domain: "{DOMAIN}", opset_import: ["" : {BODY_OPSET}]>'
        names = f"<{', '.join(self.attributes)}> " if self.attributes else ""
        signature = f"{self.name} {names}({', '.join(self.inputs)})"
        return f"{head}\n{signature} => ({', '.join(self.outputs)})\n{{\n{self.body}\n}}"

    def function(self) -> ir.Function:
        """A fresh copy of the body as an ONNX function."""
        return ir.serde.deserialize_function(_parse(self.text()))


@cache
def _parse(text: str) -> Any:
    import onnx.parser

    return onnx.parser.parse_function(text)


def size(shape: Sequence[int]) -> int:
    """Number of elements of a shape."""
    return int(np.prod(shape, dtype=np.int64))


def float_bytes(*shapes: Sequence[int]) -> int:
    """Bytes of float32 tensors of these shapes."""
    return 4 * sum(size(shape) for shape in shapes)
