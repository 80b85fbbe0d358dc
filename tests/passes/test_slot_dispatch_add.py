"""Residuals and layer scales around GLMix's mixing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import MODULE, SOURCE, Builder, counts, reasons, rewrite

from attnc.compiler.provenance import MODULE_KEY, SOURCE_KEY
from attnc.passes.canonical.conv_scale import FoldConvScale
from attnc.passes.fuse.slot_dispatch_add import FuseSlotDispatchAdd

B, C, H, W, S = "batch", 6, 3, 4, 5
LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def dispatch(b: Builder) -> ir.Value:
    """[B,C,H,W] out of a SlotDispatch."""
    inputs = [b.input(B, H * W, S, name="logits"), b.input(B, S, C, name="slots")]
    node = ir.node("SlotDispatch", inputs, domain="attnc")
    node.metadata_props.update({MODULE_KEY: MODULE, SOURCE_KEY: SOURCE})
    node.outputs[0].shape = ir.Shape([B, H * W, C])
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    b.graph.append(node)
    b.graph.opset_imports["attnc"] = 1
    return b.op("Transpose", b.op("Reshape", node.outputs[0], [0, H, W, C]), perm=FIRST)


def block(*, twin: bool = True, late: bool = False, shape: tuple[int, ...] = ()) -> ir.Model:
    b = Builder()
    x = b.op("Relu", b.input(B, C, H, W)) if not late else None
    last = b.op("Transpose", x, perm=LAST) if twin and not late else None
    far = dispatch(b)
    if x is None:
        x = b.op("Relu", b.input(B, C, H, W))
        last = b.op("Transpose", x, perm=LAST)
    near = b.conv(x, C, C)
    residual = x if not shape else b.op("ReduceMean", x, [2, 3], keepdims=1)
    y = b.op("Add", residual, b.op("Add", far, near))
    return b.model(y) if last is None else b.model(y, b.op("Neg", last))


def test_the_outer_add_goes_into_the_dispatching():
    model = block()
    (result,) = rewrite(model, FuseSlotDispatchAdd())
    assert result.matches == 1
    found = counts(model)
    assert found["SlotDispatchAdd"] == found["Add"] == 1
    assert "SlotDispatch" not in found


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"twin": False}, "channels first only"),
        ({"late": True}, "after the dispatching"),
        ({"shape": (1,)}, "broadcasts"),
    ],
)
def test_residuals_that_cannot_be_taken_are_refused(options, told):
    model = block(**options)
    (result,) = rewrite(model, FuseSlotDispatchAdd())
    assert result.matches == 0
    assert told in reasons(result)


@pytest.mark.parametrize("scale", [(1, 8, 1, 1), (8, 1, 1), (1,), ()])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_factor_behind_a_convolution_goes_into_it(scale, stride):
    b = Builder()
    y = b.conv(b.input(B, C, H, W), C, 8, 3, strides=[stride, stride])
    model = b.model(b.op("Mul", np.asarray(b.random(*scale), np.float32), y))
    (result,) = rewrite(model, FoldConvScale())
    assert result.matches == 1
    assert counts(model) == {"Conv": 1}


def test_other_factors_stay():
    b = Builder()
    y = b.conv(b.input(B, C, H, W), C, 8)
    model = b.model(b.op("Mul", y, b.random(1, 8, H, W)))
    (result,) = rewrite(model, FoldConvScale())
    assert result.matches == 0
