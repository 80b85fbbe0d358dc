"""How a channels-last packed operator is made from the semantic operator that it lowers.

Its reference unpacks and calls the semantic reference, and its hard inputs are the semantic ones
packed: what was lowered is always checked against what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from attnc.compiler.ops.base import Array, Attributes, Example, Operator, Shape
from attnc.compiler.ops.reference import to_nchw, to_nhwc

#: Weights and attributes, in one form or the other.
Form = tuple[tuple[Array, ...], Attributes]


@dataclass(frozen=True)
class Lowering:
    """The two directions between a semantic operator and its packed form.

    `pack` takes the weights (all inputs but the maps) and the attributes of `semantic` and gives
    those of the lowered operator; `unpack` is its inverse as far as the maths goes. `maps` counts
    the leading and trailing inputs that are feature maps: (1, 0) for x alone, (1, 1) with a
    residual last. `accepts` tells whether the lowered operator can express these attributes.
    `nchw_input` marks the operators that read a channels-first x, `layout_free` those whose maps
    have their channels last on both levels.
    """

    semantic: Operator
    pack: Callable[[tuple[Array, ...], Attributes], Form]
    unpack: Callable[[tuple[Array, ...], Attributes], Form]
    maps: tuple[int, int] = (1, 0)
    accepts: Callable[[Sequence[Shape], Attributes], bool] = lambda shapes, attributes: True
    nchw_input: bool = False
    layout_free: bool = False

    def split(self, inputs: Sequence[Array]) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """Inputs as (x, weights, trailing maps)."""
        end = len(inputs) - self.maps[1]
        return inputs[0], tuple(inputs[1:end]), tuple(inputs[end:])

    def reference(self, *inputs: Array, **attributes: object) -> Array:
        """The semantic reference on unpacked weights, maps moved to NCHW and back."""
        x, packed, trailing = self.split(inputs)
        weights, semantic_attributes = self.unpack(packed, attributes)
        if self.layout_free:
            return np.asarray(
                self.semantic.reference(x, *weights, *trailing, **semantic_attributes)
            )
        first = x if self.nchw_input else to_nchw(x)
        y: Array = self.semantic.reference(
            first, *weights, *map(to_nchw, trailing), **semantic_attributes
        )
        return to_nhwc(y) if y.ndim == 4 else y

    def examples(self, rng: np.random.Generator) -> list[Example]:
        """The semantic operator's hard inputs that this form can express, packed."""
        return [
            self.lower_example(example)
            for example in self.semantic.examples(rng)
            if self.accepts([array.shape for array in example.inputs], example.attributes)
        ]

    def lower_example(self, example: Example) -> Example:
        """One semantic example in packed form."""
        x, weights, trailing = self.split(example.inputs)
        packed, attributes = self.pack(weights, example.attributes)
        if self.layout_free:
            return Example(example.label, (x, *packed, *trailing), attributes)
        first = x if self.nchw_input else np.ascontiguousarray(to_nhwc(x))
        maps = tuple(np.ascontiguousarray(to_nhwc(array)) for array in trailing)
        return Example(example.label, (first, *packed, *maps), attributes)


def pick(attributes: Attributes, *names: str) -> dict[str, object]:
    """The named attributes."""
    return {name: attributes[name] for name in names}
