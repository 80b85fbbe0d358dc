"""Graphs for the precision pass, and how far a converted graph is from the float32 one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewriting import MODULE, SOURCE, Builder, compute, counts, random_feeds

from attnc.compiler.provenance import source_line, torch_module
from attnc.passes.precision import to_precision
from attnc.passes.precision.plan import PrecisionResult
from attnc.passes.precision.to_precision import ToPrecision

FLOAT, HALF, BRAIN = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16
TOKENS, DIM = 9, 16
WORST = 2e-2  # error by the standard deviation of the float32 output


def convert(model: ir.Model, step: ToPrecision) -> PrecisionResult:
    """Run the pass; the model is valid, one type per node, the pass idempotent, origins kept."""
    twin = copy_of(model)
    result = step.run(model)
    data = ir.to_proto(model)
    onnx.checker.check_model(data, full_check=True)
    step.run(twin)
    assert ir.to_proto(twin).SerializeToString() == data.SerializeToString()
    assert step.run(model).matches == 0
    assert ir.to_proto(model).SerializeToString() == data.SerializeToString()
    names = [node.name for node in model.graph if node.op_type == "Cast"]
    assert all(names)
    assert len(set(names)) == len(names)
    for node in model.graph:
        assert torch_module(node) == MODULE, node
        assert source_line(node) == SOURCE, node
        kinds = {v.dtype for v in node.inputs if v is not None} & {FLOAT, HALF, BRAIN}
        assert len(kinds) < 2 or node.op_type == "Resize", node
    return result


def error(model: ir.Model, step: ToPrecision, feeds: Mapping | None = None) -> float:
    """The worst error of the converted graph, by the deviation of the float32 output.

    In ONNX Runtime, and with every node rounded to its type.
    """
    feeds = random_feeds(model) if feeds is None else feeds
    exact = compute(model, feeds)
    convert(model, step)
    return max(
        float(np.abs(a.astype(np.float32) - b).max() / b.std())
        for found in (compute(model, feeds), strictly(model, feeds))
        for a, b in zip(found, exact, strict=True)
    )


def strictly(model: ir.Model, feeds: Mapping) -> list[np.ndarray]:
    """All outputs with every node rounded to its type; ONNX Runtime skips that on a CPU."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return ReferenceEvaluator(ir.to_proto(model)).run(None, dict(feeds))


def copy_of(model: ir.Model) -> ir.Model:
    return ir.from_proto(ir.to_proto(model))


def naively(model: ir.Model, monkeypatch: pytest.MonkeyPatch, feeds: Mapping) -> np.ndarray:
    """What the graph computes if no region stays float32."""
    copy = copy_of(model)
    with monkeypatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr(to_precision, "RULES", ())
        ToPrecision("fp16").run(copy)
    return strictly(copy, feeds)[0]


def types(model: ir.Model) -> dict[str, ir.DataType | None]:
    """The type of each operator's first output; for operators that occur once."""
    return {node.op_type: node.outputs[0].dtype for node in model.graph}


def casts(model: ir.Model) -> int:
    return counts(model).get("Cast", 0)


def linear(b: Builder, x: ir.Value, wide: int = DIM, narrow: int = DIM) -> ir.Value:
    return b.op("Add", b.op("MatMul", x, b.random(narrow, wide) / narrow**0.5), b.random(wide))


def norm(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("LayerNormalization", x, b.random(DIM), b.random(DIM), axis=-1)


def weights_of(b: Builder, x: ir.Value) -> ir.Value:
    """Attention weights [batch, tokens, tokens]."""
    keys = b.op("Transpose", linear(b, x), perm=[0, 2, 1])
    scores = b.op("MatMul", linear(b, x), keys)
    return b.op("Softmax", b.op("Mul", scores, np.float32(DIM**-0.5)), axis=-1)


def block(b: Builder, x: ir.Value) -> ir.Value:
    """A transformer block."""
    y = norm(b, x)
    x = b.op("Add", x, linear(b, b.op("MatMul", weights_of(b, y), linear(b, y))))
    return b.op("Add", x, linear(b, b.op("Gelu", linear(b, norm(b, x), 2 * DIM)), DIM, 2 * DIM))
