"""Several operators together: more axes than Core ML has between reshapes, and shared parts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from programs import evaluate, expected, lowered

from attnc.compiler.errors import UnsupportedError

#: Windows of 4x4 cut out of pixels and put back, as Swin spells it.
WINDOWS = """
<ir_version: 10, opset_import: ["": 20]>
windows (float[2,8,12,6] x) => (float[2,8,12,6] y)
<int64[6] split = {2, 2, 4, 3, 4, 6}, int64[3] rows = {12, 16, 6},
 int64[6] grid = {2, 2, 3, 4, 4, 6}, int64[4] whole = {2, 8, 12, 6}>
{
  six = Reshape(x, split)
  turned = Transpose<perm = [0, 1, 3, 2, 4, 5]>(six)
  tokens = Reshape(turned, rows)
  active = Tanh(tokens)
  again = Reshape(active, grid)
  back = Transpose<perm = [0, 1, 3, 2, 4, 5]>(again)
  y = Reshape(back, whole)
}
"""
#: The same turn twice in a row, on six axes.
TWICE = """
<ir_version: 10, opset_import: ["": 20]>
twice (float[2,3,4,5] x) => (float[5,24] y)
<int64[7] seven = {1, 2, 1, 3, 2, 2, 5}, int64[2] flat = {5, 24}>
{
  many = Reshape(x, seven)
  first = Transpose<perm = [6, 0, 2, 1, 3, 4, 5]>(many)
  second = Transpose<perm = [0, 1, 2, 3, 6, 5, 4]>(first)
  y = Reshape(second, flat)
}
"""
SUM = """
<ir_version: 10, opset_import: ["": 20]>
sum (float[2,3,4,5] x) => (float[2,3,4,5] y)
<int64[6] six = {1, 2, 1, 3, 4, 5}, int64[4] four = {2, 3, 4, 5}>
{
  many = Reshape(x, six)
  doubled = Add(many, many)
  y = Reshape(doubled, four)
}
"""


def parsed(text: str) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text), data_prop=True)


@pytest.mark.parametrize("ios", [16, 18])
@pytest.mark.parametrize("text", [WINDOWS, TWICE], ids=["windows", "twice"])
def test_six_axes_between_reshapes(text: str, ios: int) -> None:
    proto = parsed(text)
    shape = [size.dim_value for size in proto.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(5).standard_normal(shape).astype(np.float32)}
    (found,) = evaluate(lowered(proto, ios), ios, feeds)
    np.testing.assert_allclose(found, expected(proto, feeds)["y"], rtol=1e-6)


def test_windows_cost_two_turns() -> None:
    made = lowered(parsed(WINDOWS), 16).program["main"]
    counts = Counter(operation.op_type for operation in made.operations)
    assert (counts["transpose"], counts["reshape"], counts["tanh"]) == (2, 4, 1)


def test_six_axes_are_refused_elsewhere() -> None:
    with pytest.raises(UnsupportedError, match=r"has 6 axes; Core ML has at most 5") as caught:
        lowered(parsed(SUM), 16)
    assert "at: Reshape" in str(caught.value)
