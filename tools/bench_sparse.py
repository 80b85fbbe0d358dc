"""Sparsifiner's attention for `make bench-kernels`: one layer of the published models."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.compiler.ops.base import NO_MIN
from attnc.compiler.ops.sparse_attention import cost

HEADS, DIM, NARROW, COEFFICIENTS = 6, 64, 32, 8
#: tokens, rank of the predictor, keys that each query keeps
MODELS = {"sparsifiner_s": (197, 32, 50), "sparsifiner_s_384": (577, 96, 145)}
#: Small, so that random weights do not give one coefficient all the weight.
COEF_SCALE = 1e-3

Call = tuple[str, str, tuple[int, ...], tuple[int, ...], tuple[float, ...], int]


def shapes_of(model: str, batch: int) -> Iterator[Call]:
    """Kernel, label, floats of each pointer, integers, reals, multiply-adds."""
    tokens, rank, keep = MODELS[model]
    width = HEADS * DIM
    shapes = [
        (batch, tokens, 3 * width),
        (NARROW, DIM),
        (NARROW,),
        (NARROW, DIM),
        (NARROW,),
        (tokens, rank),
        (rank, tokens),
    ]
    attributes = {"heads": HEADS, "dim": DIM, "coef_topk": COEFFICIENTS, "keep": keep}
    weights = (NARROW * DIM, NARROW, NARROW * DIM, NARROW, tokens * rank, rank * tokens)
    pointers = (3 * batch * tokens * width, *weights, 0, batch * tokens * width)
    integers = (batch, tokens, HEADS, DIM, NARROW, rank, COEFFICIENTS, keep, 0)
    reals = (NO_MIN, NO_MIN, DIM**-0.5, COEF_SCALE)
    label = f"{tokens} tokens, {keep} of them kept"
    flops = cost(shapes, attributes).flops
    yield "sparse_attention", label, pointers, integers, reals, flops // 2
    pointers = (*pointers[:-2], batch * tokens, pointers[-1])
    label += ", tokens may be pruned"
    yield "sparse_attention", label, pointers, integers, reals, flops // 2
