"""The hard inputs that the operators declare for themselves, with their own references."""

from __future__ import annotations

from collections.abc import Iterator

from kernel_cases import Case

from attnc.compiler.ops import conv_tiles_nhwc, registry
from attnc.compiler.ops.base import Example, Operator
from attnc.compiler.ops.convolution import RELU

#: More images than share the scratch of a convolution at interpolation points: too slow to be
#: emulated, so not among the operator's own examples.
MANY_IMAGES = (9, 28, 28, 128, 16, 7, (3, 3, 3, 3))


def registry_cases(rng) -> dict[str, Case]:
    """One case per example of each lowered operator."""
    return {f"{op.name}-{example.label}": _case(op, example) for op, example in _examples(rng)}


def _examples(rng) -> Iterator[tuple[Operator, Example]]:
    for operator in registry.LOWERED:
        for example in operator.examples(rng):
            yield operator, example
    lowering = conv_tiles_nhwc.LOWERING4
    many = conv_tiles_nhwc.example(lowering, rng, MANY_IMAGES, RELU)
    yield conv_tiles_nhwc.CONV_TILES4_NHWC, many


def _case(operator: Operator, example: Example) -> Case:
    x, *rest = example.inputs
    split = len(rest) - operator.inputs.count("r")
    expected = operator.reference(*example.inputs, **example.attributes)
    attributes = dict(example.attributes)
    return Case(operator.name, x, rest[:split], attributes, expected, rest[split:])
