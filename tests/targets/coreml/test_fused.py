"""Every fused operator on its hard inputs: its Core ML program against its float64 reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import Array, Graph, answers, close, copy_of, cosine
from rewriting import counts

from attnc.compiler.ops import registry
from attnc.compiler.ops.attention import probabilities
from attnc.compiler.ops.base import Example, Operator
from attnc.compiler.ops.sparse_attention_examples import clear_rows
from attnc.targets.coreml.lower import prepare

#: Inputs that models compute; all others are weights.
DATA = {
    *("x", "r", "query", "memory", "index", "weights", "logits", "pixels", "slots", "qkv"),
    "active",
}
#: The iOS version, and whether the data come as maps, so that they are held channels first.
FLOAT32 = [(16, True), (17, True), (18, False)]
HALF = [(16, False), (18, True)]
#: Logits of hundreds: rounding them to float32 alone turns the shares by more than 1e-5.
SHARP = {"l65s17c64": 5e-5, "sharp": 5e-5}
#: Products of lengths down to 5e-5, which float16 does not hold: a tenth is lost.
TINY = {"l7s5c1": 0.98}
CHOOSING = ("SelectTokens", "SparseAttention", "SparseAttentionActive")
OWN = [operator for operator in registry.SEMANTIC if operator.name not in CHOOSING]


def ways(operator: Operator, all_ways: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
    """Windows become the same hundreds of operations for every iOS: once is enough."""
    return all_ways[-1:] if operator.name.startswith("WindowAttention") else all_ways


CASES = [
    pytest.param(operator, index, *way, id=f"{operator.name}-{example.label}-{way[0]}")
    for operator in registry.SEMANTIC
    for index, example in enumerate(operator.examples(np.random.default_rng(0)))
    for way in ways(operator, FLOAT32)
]
HALVES = [
    pytest.param(operator, *way, id=f"{operator.name}-{way[0]}")
    for operator in OWN
    for way in ways(operator, HALF)
]


class Program:
    """All examples of an operator as one graph; `held`: its data come as maps."""

    def __init__(self, operator: Operator, held: bool) -> None:
        self.examples = operator.examples(np.random.default_rng(0))
        self.operator, self.held = operator, held
        self.graph, self.feeds = Graph(), dict[str, Array]()
        outputs = [self._node(index, example) for index, example in enumerate(self.examples)]
        self.names = [[str(value.name) for value in values] for values in outputs]
        self.model = self.graph.model(*(value for values in outputs for value in values))

    def _node(self, index: int, example: Example) -> list[ir.Value]:
        made: dict[int, ir.Value] = {}
        inputs = []
        for name, array in zip(self.operator.inputs, example.inputs, strict=True):
            if id(array) not in made:
                made[id(array)] = self._value(f"x{index}_{name}", name, array)
            inputs.append(made[id(array)])
        found = self.graph.fused(self.operator.name, *inputs, **example.attributes)
        return found if isinstance(found, list) else [found]

    def _value(self, fed: str, name: str, array: Array) -> ir.Value:
        if name not in DATA:
            return self.graph.const(array)
        if not self.held or name in ("index", "weights", "logits", "active"):
            return self._input(fed, array)
        if array.ndim == 3:
            columns = array.transpose(0, 2, 1)[:, :, None]
            return self.graph.tokens(self._input(fed, columns))
        if array.ndim == 4 and self.operator.name.startswith(("Window", "Grid", "Linear", "Mlp")):
            planes = self._input(fed, array.transpose(0, 3, 1, 2))
            return self.graph.shaped("Transpose", array.shape, planes, perm=[0, 2, 3, 1])
        return self._input(fed, array)

    def _input(self, name: str, array: Array) -> ir.Value:
        self.feeds[name] = np.ascontiguousarray(array)
        kind = ir.DataType.INT64 if array.dtype.kind == "i" else ir.DataType.FLOAT
        return self.graph.input(*array.shape, name=name, dtype=kind)

    def results(self, ios: int, half: bool) -> list[tuple[Array, ...]]:
        found = iter(answers(self.model, self.feeds, ios, half))
        return [tuple(next(found) for _ in names) for names in self.names]


@cache
def program(name: str, held: bool) -> Program:
    return Program(registry.get(name), held)


@cache
def results(name: str, ios: int, held: bool, half: bool) -> list[tuple[Array, ...]]:
    return program(name, held).results(ios, half)


@cache
def wanted(name: str) -> list[tuple[Array, ...]]:
    made = program(name, False)
    return [made.operator.results(example) for example in made.examples]


@pytest.mark.parametrize(("operator", "index", "ios", "held"), CASES)
def test_float32_is_the_reference(operator: Operator, index: int, ios: int, held: bool) -> None:
    found = results(operator.name, ios, held, False)[index]
    limit = SHARP.get(program(operator.name, False).examples[index].label, 1e-5)
    for got, want in zip(found, wanted(operator.name)[index], strict=True):
        close(got, want, limit)


@pytest.mark.parametrize(("operator", "ios", "held"), HALVES)
def test_half_points_the_same_way(operator: Operator, ios: int, held: bool) -> None:
    found = results(operator.name, ios, held, True)
    for example, parts, wants in zip(
        program(operator.name, held).examples, found, wanted(operator.name), strict=True
    ):
        for got, want in zip(parts, wants, strict=True):
            assert got.shape == want.shape
            assert got.dtype == np.float16
            assert cosine(got, want) > TINY.get(example.label, 0.999), example.label


@pytest.mark.parametrize(("ios", "held"), HALF, ids=str)
@pytest.mark.parametrize("name", ["SparseAttention", "SparseAttentionActive"])
def test_half_where_the_choice_is_settled(name: str, ios: int, held: bool) -> None:
    seen = 0
    for example, (got,), (want,) in zip(
        program(name, held).examples, results(name, ios, held, True), wanted(name), strict=True
    ):
        clear = settled(example)
        assert got.shape == want.shape
        assert cosine(got[clear], want[clear]) > 0.999, example.label
        seen += int(clear.sum())
    assert seen > 5_000


def settled(example: Example) -> Array:
    """Which elements belong to queries whose choices stand in float16."""
    inputs, active = example.inputs[:7], np.ones(example.inputs[0].shape[:2])
    if len(example.inputs) > 7:
        active = example.inputs[7]
    clear = clear_rows(inputs, active, example.attributes, least_gap=2e-2)
    if example.attributes.get("prune_rows"):
        clear |= np.asarray(active)[:, None] == 0
    clear[:, :, 0] = True
    return np.asarray(clear.transpose(0, 2, 1).repeat(example.attributes["dim"], axis=2))


@pytest.mark.parametrize(("ios", "held"), HALF, ids=str)
def test_half_selection_is_true_to_its_own_choice(ios: int, held: bool) -> None:
    made = program("SelectTokens", held)
    for example, found in zip(made.examples, results("SelectTokens", ios, held, True), strict=True):
        _, index, shares = found
        scores = reference_scores(example)
        best = np.sort(scores, axis=1)[:, ::-1][:, : index.shape[1]]
        close(np.take_along_axis(scores, index, axis=1), best, 5e-3)
        assert [len(set(row)) for row in index.tolist()] == [index.shape[1]] * len(index)
        for got, want in zip((found[0], shares), selected(example, index, scores), strict=True):
            assert got.shape == want.shape
            assert cosine(got, want) > 0.999, example.label


def reference_scores(example: Example) -> Array:
    """[B,N-1]: the class token's attention, averaged over heads."""
    _, query, memory, _ = example.inputs
    shares = probabilities(query[:, :1], memory, example.attributes)
    return np.asarray(shares[:, :, 0, 1:].mean(axis=1))


def selected(example: Example, index: Array, scores: Array) -> tuple[Array, Array]:
    """The rows and weights that a choice of tokens gives."""
    x, bias = (np.asarray(example.inputs[place], np.float64) for place in (0, 3))
    rest = scores.copy()
    np.put_along_axis(rest, index.astype(np.int64), 0, axis=1)
    rows = [x[:, :1], np.take_along_axis(x, index[:, :, None] + 1, axis=1)]
    if example.attributes["fuse"]:
        fused = np.einsum("bj,bjc->bc", rest, x[:, 1:]) + (rest.sum(1, keepdims=True) - 1) * bias
        rows.append(fused[:, None])
    return np.concatenate(rows, axis=1), rest


@pytest.mark.parametrize("ios", [16, 18])
def test_learned_slots_are_constants(ios: int) -> None:
    graph, feeds, wants = Graph(), {}, []
    outputs = []
    for index, example in enumerate(registry.get("SlotCluster").examples(np.random.default_rng(0))):
        pixels, slots = example.inputs
        if len(slots) == 1:
            x = graph.input(*pixels.shape, name=f"x{index}")
            feeds[str(x.name)] = pixels
            outputs += graph.fused("SlotCluster", x, slots, **example.attributes)
            wants += registry.get("SlotCluster").results(example)
    for got, want in zip(answers(graph.model(*outputs), feeds, ios), wants, strict=True):
        close(got, want, 5e-5)


@pytest.mark.parametrize("half", [False, True])
def test_negative_scale_of_short_vectors(half: bool) -> None:
    lengths = np.linspace(1e-3, 0.2, 40, dtype=np.float32)[None, :, None]
    slots = np.array([[[0.05], [-0.05]]], np.float32)
    graph = Graph()
    x = graph.input(*lengths.shape)
    model = graph.model(*graph.fused("SlotCluster", x, slots, scale=-40.0))
    _, logits = answers(model, {"x": lengths}, 17, half)
    assert np.isfinite(logits).all()
    assert (logits[..., 0] < 0).all()
    assert (logits[..., 1] > 0).all()
    assert np.abs(logits).max() <= 40.1


@pytest.mark.parametrize("computed", [False, True])
def test_bias_of_selected_tokens(computed: bool) -> None:
    operator = registry.get("SelectTokens")
    example = operator.examples(np.random.default_rng(0))[2]
    x, qkv, _, bias = example.inputs
    bias = bias if computed else np.zeros_like(bias)
    graph = Graph()
    rows, packed = graph.input(*x.shape), graph.input(*qkv.shape, name="qkv")
    given = graph.input(*bias.shape, name="bias") if computed else bias
    outputs = graph.fused("SelectTokens", rows, packed, packed, given, **example.attributes)
    feeds = {"x": x, "qkv": qkv} | ({"bias": bias} if computed else {})
    wants = operator.reference(x, qkv, qkv, bias, **example.attributes)
    for got, want in zip(answers(graph.model(*outputs), feeds), wants, strict=True):
        close(got, want)


def test_what_has_no_lowering_is_inlined() -> None:
    twin = copy_of(program("SparseAttentionActive", False).model)
    prepare(twin, 17)
    assert "SparseAttentionActive" not in counts(twin)
