"""Programs of small graphs: memory, weights, aliases, views, and what the engine cannot do."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from attnc.compiler.errors import UnsupportedError
from attnc.targets.web import program as web
from attnc.targets.web.emit import program_of
from attnc.targets.web.operators import STANDARD
from attnc.targets.web.plan import Plan
from attnc.targets.web.standard import halve_weights, halves, to_standard
from attnc.targets.web.views import grid_of

HEAD = '<ir_version: 9, opset_import: ["" : 20]>'


def model(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(f"{HEAD}\n{text}"))


def plan_of(text: str, *, half: bool = False) -> Plan:
    return program_of(model(text), half=half)[0]


CHAIN = """g (float[1,4,6] x) => (float[1,24] y) <float[6] w = {1,2,3,4,5,6}> {
  a = Mul (x, w)
  b = Relu (a)
  shape = Constant <value_ints = [1, 24]> ()
  c = Reshape (b, shape)
  y = Add (c, c)
}"""


def test_a_reshape_is_no_step() -> None:
    made = plan_of(CHAIN)
    assert [step.operator for step in made.program.steps] == ["Mul", "Relu", "Add"]
    tensors = made.program.tensors
    assert tensors[made.numbers["b"]].offset == tensors[made.numbers["c"]].offset
    assert tensors[made.numbers["c"]].dims == (1, 24)


def test_an_input_is_never_written_over_before_its_last_use() -> None:
    made = plan_of(CHAIN)
    tensors = made.program.tensors
    assert tensors[made.numbers["a"]].offset != tensors[made.numbers["x"]].offset


def test_a_result_that_is_a_weight_is_copied() -> None:
    text = """g (float[2] x) => (float[2] y, float[1,2] z) <float[2] w = {1,2}> {
      y = Relu (x)
      shape = Constant <value_ints = [1, 2]> ()
      z = Reshape (w, shape)
    }"""
    made = plan_of(text)
    assert sorted(step.operator for step in made.program.steps) == ["Relu", "Reshape"]
    assert made.program.tensors[made.numbers["z"]].space == web.ARENA


def test_equal_weights_are_stored_once() -> None:
    text = """g (float[2,3] x) => (float[2,3] y) <float[3] v = {1,2,3}, float[3] w = {1,2,3}> {
      a = Mul (x, v)
      b = Add (a, w)
      y = Sub (b, w)
    }"""
    made = plan_of(text)
    assert len(made.program.stored) == 1
    assert np.frombuffer(made.weights[:12], np.float32).tolist() == [1, 2, 3]


def test_large_weights_are_halved_and_small_ones_are_not() -> None:
    rng = np.random.default_rng()
    graph = model("g (float[1,512] x) => (float[1,512] y) { z = Relu (x)\n y = Relu (z) }").graph
    for name, count in (("large", 512), ("small", 1)):
        value = ir.Value(name=name, const_value=ir.tensor(rng.random(count, np.float32), name=name))
        value.shape, value.type = ir.Shape((count,)), ir.TensorType(ir.DataType.FLOAT)
        graph.register_initializer(value)
        last = graph[-1]
        node = ir.node("Mul", [last.inputs[0], value], name=name)
        node.outputs[0].name = f"by_{name}"
        graph.insert_before(last, node)
        last.replace_input_with(0, node.outputs[0])
    made = ir.Model(graph, ir_version=9)
    stored = program_of(made, half=True)[0].program.stored
    assert sorted((item.dtype, item.elements) for item in stored) == [
        (web.FLOAT32, 1),
        (web.FLOAT16, 512),
    ]
    halve_weights(made)
    kinds = {value.dtype for value in made.graph.initializers.values()}
    assert kinds == {ir.DataType.FLOAT16, ir.DataType.FLOAT}
    assert [node.op_type for node in made.graph].count("Cast") == 1


@pytest.mark.parametrize(
    ("factor", "halved"), [(1.0, True), (1e5, False), (1e-8, False), (0.0, True)]
)
def test_weights_that_halves_do_not_hold_stay_whole(factor: float, halved: bool) -> None:
    weight = np.random.default_rng().uniform(0.5, 1, (8, 64)).astype(np.float32)
    assert halves(weight * np.float32(factor)) is halved


def test_a_weight_that_is_an_output_stays_whole() -> None:
    graph = model("g (float[1,512] x) => (float[1,512] y) { y = Relu (x) }").graph
    tensor = ir.tensor(np.ones((1, 512), np.float32), name="w")
    value = ir.Value(name="w", const_value=tensor, shape=ir.Shape((1, 512)))
    value.type = ir.TensorType(ir.DataType.FLOAT)
    graph.register_initializer(value)
    graph.outputs.append(value)
    halve_weights(ir.Model(graph, ir_version=9))
    assert [held.dtype for held in graph.initializers.values()] == [ir.DataType.FLOAT]


def test_an_operator_that_the_engine_lacks_is_named() -> None:
    text = "g (float[1,1,4,4] x) => (float[1,1,4,4] y) { y = LpNormalization <axis = 1> (x) }"
    with pytest.raises(UnsupportedError, match="no operator LpNormalization"):
        plan_of(text)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("(int64[4] x) => (int64[4] y) { y = Neg (x) }", "Neg for float32 only"),
        ("(float[4] x, float[4,2] w) => (float[2] y) { y = MatMul (x, w) }", "MatMul of 1 dimen"),
        ("(float[2,4] x, float[4] w) => (float[2] y) { y = MatMul (x, w) }", "MatMul of 1 dimen"),
        ("(float[1,2,8] x, float[2,2,3] w) => (float[1,2,6] y) { y = Conv (x, w) }", "of 3 dimen"),
        (
            "(float[2,6,6] x, float[6,1] w) => (float[2,6,6] y) { y = LayerNormalization (x, w) }",
            r"LayerNormalization of \[6\] with scale or shift \[6, 1\]",
        ),
    ],
)
def test_inputs_that_an_operator_does_not_take_are_named(body: str, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said) as refused:
        plan_of(f"g {body}")
    assert refused.value.where


def test_a_size_that_is_not_known_is_named() -> None:
    with pytest.raises(UnsupportedError, match="size of 'x'"):
        plan_of("g (float[n,4] x) => (float[n,4] y) { y = Relu (x) }")


def test_a_type_that_the_engine_lacks_is_named() -> None:
    with pytest.raises(UnsupportedError, match="no type double"):
        plan_of("g (double[2,4] x) => (double[2,4] y) { y = Relu (x) }")


def test_nodes_get_names_of_their_own() -> None:
    made = model("g (float[2] x) => (float[2] y) { a = Relu (x)\n y = Relu (a) }")
    for node in made.graph:
        node.name = "same"
    to_standard(made)
    assert len({node.name for node in made.graph}) == 2


def test_the_engine_knows_the_operators_that_plans_may_have() -> None:
    wasmtime = pytest.importorskip("wasmtime")
    assert wasmtime
    from attnc.runtimes.web.engine import WasmModule
    from attnc.runtimes.web.files import HERE

    known = set(WasmModule(HERE / "lib" / "engine-simd.wasm").operators())
    assert known >= STANDARD


@pytest.mark.parametrize(
    ("tokens", "height", "width", "grid"),
    [
        (196, 224, 224, (14, 14)),
        (50, 320, 640, (5, 10)),
        (7, 224, 224, ()),
        (98, 224, 448, (7, 14)),
    ],
)
def test_grids(tokens: int, height: int, width: int, grid: tuple[int, ...]) -> None:
    assert grid_of(tokens, height, width) == grid
