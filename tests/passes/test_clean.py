"""Passes that only remove what does nothing."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewriting import Builder, compute, counts, only, reasons, rewrite

from attnc.passes.clean.constants import ConstantsToInitializers
from attnc.passes.clean.dead import DeadCode
from attnc.passes.clean.duplicates import MergeDuplicates
from attnc.passes.clean.fold import FoldConstants
from attnc.passes.clean.identity import RemoveIdentity
from attnc.passes.clean.infer import InferShapes
from attnc.passes.clean.repeat import Repeat
from attnc.passes.clean.shapes import FoldShapes
from attnc.passes.graph import ints, shape


def test_constants_functions_and_overridable_weights_become_initializers() -> None:
    text = """
        <ir_version: 9, opset_import: ["": 20, "mine": 1]>
        g (float[2, 3] x, float[3] w = {1, 2, 3}) => (float[2, 3] y)
        { c = Constant <value_float = 2.0> ()
          a = mine.twice (x, c)
          y = Add (a, w) }
        <domain: "mine", opset_import: ["": 20]>
        twice (a, b) => (c) { c = Mul (a, b) }
    """
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    result = ConstantsToInitializers().run(model)
    assert result.matches == 3
    assert counts(model) == {"Mul": 1, "Add": 1}
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert not model.functions
    assert ConstantsToInitializers().run(model).matches == 0
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(compute(model, {"x": x})[0], 2 * x + [1, 2, 3])


def test_dead_nodes_and_constants_go() -> None:
    b = Builder()
    x = b.input(2, 3)
    b.op("Exp", b.op("Mul", x, b.random(3)))
    model = b.model(b.op("Relu", x))
    assert rewrite(model, DeadCode())[0].matches == 3
    assert counts(model) == {"Relu": 1}
    assert not model.graph.initializers


def test_constants_are_folded() -> None:
    b = Builder()
    x = b.input("n", 3)
    scale = b.op("Sqrt", b.op("Mul", b.const(np.float32(8)), b.const(np.float32(2))))
    model = b.model(b.op("Div", x, scale))
    assert rewrite(model, FoldConstants())[0].matches == 2
    assert counts(model) == {"Div": 1}


def test_large_results_are_not_folded() -> None:
    b = Builder()
    wide = b.op("Expand", b.const(np.float32(1)), np.array([2048, 1024]))
    model = b.model(b.op("ReduceMax", b.op("Add", b.input(1, 1024), wide), keepdims=0))
    (result,) = rewrite(model, FoldConstants())
    assert result.matches == 0
    assert "large constant" in reasons(result)


def test_random_numbers_are_not_folded() -> None:
    b = Builder()
    noise = b.op("RandomNormalLike", b.const(np.zeros(3, np.float32)), seed=1.0)
    model = b.model(b.op("Add", b.input(2, 3), noise))
    assert FoldConstants().run(model).matches == 0


def test_shape_arithmetic_of_a_dynamic_batch_stays_dynamic() -> None:
    b = Builder()
    x = b.op("Relu", b.input("n", 6, 4, 5))
    batch = b.op("Gather", b.op("Shape", x), np.array(0), axis=0)
    batch = b.op("Unsqueeze", batch, np.array([0]))
    pixels = b.op("Mul", b.op("Gather", b.op("Shape", x), np.array(2), axis=0), np.array(5))
    pixels = b.op("Unsqueeze", pixels, np.array([0]))
    target = b.op("Concat", batch, np.array([6]), pixels, axis=0)
    model = b.model(b.op("Reshape", x, target))
    rewrite(model, FoldShapes(), batches=(1, 4))
    DeadCode().run(model)
    assert counts(model) == {"Relu": 1, "Reshape": 1}
    assert ints(only(model, "Reshape").inputs[1]) == [0, 6, 20]


def test_scalars_stay_scalars() -> None:
    b = Builder()
    x = b.op("Relu", b.input("n", 6, 9))
    rows = b.op("Gather", b.op("Shape", x), np.array(2), axis=0)
    rest = b.op("Mod", b.op("Sub", np.array(14), rows), np.array(6))
    factor = b.op("Mul", b.const(np.float32(2)), b.const(np.float32(3)))
    y = b.op("Add", b.op("Cast", rest, to=ir.DataType.FLOAT), factor)
    model = b.model(b.op("Mul", x, b.op("Unsqueeze", y, np.array([0]))))
    rewrite(model, FoldShapes(), FoldConstants())
    (held,) = [v for v in only(model, "Mul").inputs if v.const_value is not None]
    assert held.const_value.numpy().tolist() == [11.0]


def test_folding_repeats_until_it_rests() -> None:
    b = Builder()
    x = b.op("Relu", b.input("n", 4, 6))
    for _ in range(4):
        sizes = b.op("Shape", x)
        last = b.op("Div", b.op("Slice", sizes, [1], [2]), np.array([1]))
        x = b.op("Relu", b.op("Reshape", x, b.op("Concat", np.array([-1]), last, axis=0)))
        x = b.op("Unsqueeze", x, np.array([0]))
    model = b.model(x)
    passes = [FoldConstants(), InferShapes(), FoldShapes(), RemoveIdentity()]
    assert rewrite(model, Repeat(passes))[0].matches > 0
    assert set(counts(model)) == {"Relu", "Reshape", "Unsqueeze"}


def test_a_moved_batch_becomes_minus_one() -> None:
    b = Builder()
    x = b.op("Relu", b.input("n", 6))
    batch = b.op("Slice", b.op("Shape", x), [0], [1])
    model = b.model(b.op("Reshape", x, b.op("Concat", np.array([3, 2]), batch, axis=0)))
    rewrite(model, FoldShapes())
    assert ints(only(model, "Reshape").inputs[1]) == [3, 2, -1]


def test_two_unknown_sizes_are_left_alone() -> None:
    b = Builder()
    x = b.op("Relu", b.input("n", "m", 6))
    rows = b.op("Slice", b.op("Shape", x), [0], [1])
    columns = b.op("Slice", b.op("Shape", x), [1], [2])
    target = b.op("Concat", np.array([2, 3]), columns, rows, axis=0)
    model = b.model(b.op("Reshape", x, target))
    assert rewrite(model, FoldShapes())[0].matches == 0


def test_an_expand_to_its_own_shape_goes() -> None:
    b = Builder()
    x = b.op("Relu", b.input("n", 3))
    model = b.model(b.op("Exp", b.op("Expand", x, b.op("Shape", x))))
    rewrite(model, FoldShapes())
    assert "Expand" not in counts(model)


def _doing_nothing(b: Builder, x: ir.Value) -> ir.Value:
    x = b.op("Identity", x)
    x = b.op("Dropout", x)
    x = b.op("Cast", x, to=ir.DataType.FLOAT)
    x = b.op("Reshape", x, np.array([0, -1, 4]))
    x = b.op("Slice", x, [0], [2**62], [1])
    x = b.op("Mul", x, np.ones(4, np.float32))
    x = b.op("Sub", b.op("Add", np.zeros(1, np.float32), x), np.zeros(1, np.float32))
    x = b.op("Pad", x, np.zeros(6, np.int64))
    x = b.op("Transpose", b.op("Transpose", x, perm=[2, 0, 1]), perm=[1, 2, 0])
    return b.op("Concat", x, axis=0)


def test_operators_that_return_their_input_go() -> None:
    b = Builder()
    x = b.op("Relu", b.input("n", 3, 4))
    model = b.model(b.op("Exp", _doing_nothing(b, x)))
    assert rewrite(model, RemoveIdentity())[0].matches == 12
    assert counts(model) == {"Relu": 1, "Exp": 1}


def test_an_identity_between_input_and_output_stays() -> None:
    b = Builder()
    model = b.model(b.op("Identity", b.input(2, 3)))
    assert rewrite(model, RemoveIdentity())[0].matches == 0


def test_the_name_of_an_output_survives() -> None:
    b = Builder()
    model = b.model(b.op("Identity", b.op("Relu", b.input(2, 3))))
    rewrite(model, RemoveIdentity())
    assert counts(model) == {"Relu": 1}
    assert [value.name for value in model.graph.outputs] == ["y0"]


@pytest.mark.parametrize(
    ("op_type", "operand"),
    [("Reshape", np.array([0, 4, 3])), ("Add", np.full(4, 1e-9)), ("Mul", np.ones((1, 1, 1, 4)))],
)
def test_operators_that_do_something_stay(op_type: str, operand: np.ndarray) -> None:
    b = Builder()
    model = b.model(b.op("Exp", b.op(op_type, b.op("Relu", b.input("n", 3, 4)), operand)))
    assert rewrite(model, RemoveIdentity())[0].matches == 0


def test_a_type_taken_from_a_tensor_is_written_out() -> None:
    b = Builder()
    x = b.input("n", 3)
    like = b.op("CastLike", np.arange(3), x)
    model = b.model(b.op("Add", b.op("Relu", x), like))
    assert rewrite(model, InferShapes(), RemoveIdentity())[1].matches == 1
    assert counts(model) == {"Relu": 1, "Cast": 1, "Add": 1}


def test_transposes_are_merged() -> None:
    b = Builder()
    x = b.op("Transpose", b.input(2, 3, 4), perm=[1, 2, 0])
    model = b.model(b.op("Transpose", x, perm=[1, 2, 0]))
    assert rewrite(model, RemoveIdentity())[0].matches == 1
    assert list(only(model, "Transpose").attributes["perm"].as_ints()) == [2, 0, 1]


def test_duplicates_are_merged() -> None:
    b = Builder()
    x, w = b.input(2, 3), b.random(3)
    one, two = b.op("Mul", x, w), b.op("Mul", x, w.copy())
    model = b.model(b.op("Add", b.op("Relu", one), b.op("Relu", two)))
    assert rewrite(model, MergeDuplicates())[0].matches == 3
    assert counts(model) == {"Mul": 1, "Relu": 1, "Add": 1}


def test_shapes_are_inferred() -> None:
    b = Builder()
    model = b.model(b.conv(b.input("n", 3, 9, 9), 3, 8, 3, strides=[2, 2]))
    value = only(model, "Conv").outputs[0]
    value.shape = None
    assert InferShapes().run(model).matches == 1
    assert shape(value) == [None, 8, 5, 5]
    assert InferShapes().run(model).matches == 0
