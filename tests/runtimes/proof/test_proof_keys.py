"""Kept keys: what a kernel keeps is seen, near-ties are told apart from wrong kernels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import attnc
from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.proving import bundle_graph, trace_again
from attnc.compiler.ops.registry import get, make_node
from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.seeded_input import seeded_input
from attnc.passes.pipelines import default
from attnc.runtimes.kernels_here import kernels_here
from attnc.runtimes.proof import keys
from attnc.runtimes.proof.key_choices import KeyAgreement, agreement, choice_of, gaps_of
from attnc.runtimes.proof.selection import NEAR

EXAMPLES = [
    (name, example)
    for name in keys.OPERATORS
    for example in get(name).examples(np.random.default_rng(0))
]


def node_of(name: str, example: Any) -> ir.Node:
    """The operator with its weights as constants, as in a bundle."""
    values = []
    for place, given in enumerate(example.inputs):
        array = np.asarray(given, np.float32)
        value = ir.Value(name=f"v{place}", type=ir.TensorType(ir.DataType.FLOAT))
        value.shape = ir.Shape(array.shape)
        if 0 < place < 7:
            value.const_value = ir.tensor(array, name=value.name)
        values.append(value)
    return make_node(name, values, dict(example.attributes))


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=lambda v: getattr(v, "label", v))
def test_the_body_keeps_what_the_reference_keeps(name: str, example: Any) -> None:
    """On hard inputs: wherever no near-tie decides, and never an index that is not explained."""
    arrays = [np.asarray(array, np.float32) for array in example.inputs]
    choice = choice_of(arrays, example.attributes)
    active = arrays[7] if len(arrays) > 7 else None
    kept = keys.kept_by(node_of(name, example), None, arrays[0], active)
    found = agreement("layer", choice, kept, kept)
    assert found.explained, found
    assert found.flipped <= found.near


def row(scores: list[float], keep: int, **other: Any) -> Any:
    """A choice of one head, the class token's query and one more."""
    base = choice_of([np.zeros((1, 2, 3)), *[np.zeros((1, 1))] * 4, np.zeros((2, 1)),
                      np.zeros((1, 2))], ATTRIBUTES)  # fmt: skip
    values = np.array([scores, scores])[None, None]
    kept = np.zeros(values.shape, bool)
    np.put_along_axis(kept, np.argsort(-values, -1, kind="stable")[..., :keep], True, -1)
    changed = {"scores": values, "kept": kept, "unseen": np.zeros(values.shape, bool)}
    changed |= {"keep": keep, "reach": np.zeros((1, 1, 2)), "coefficient_lead": np.ones((1, 1, 2))}
    return replace(base, **{**changed, **other})


ATTRIBUTES = {
    **{"heads": 1, "dim": 1, "coef_topk": 1, "coef_threshold": -1.0, "keep": 1},
    **{"score_threshold": -3.4028234663852886e38, "scale": 1.0, "coef_scale": 1.0},
}


def swapped(choice: Any, out: int, into: int) -> Any:
    kept = choice.kept.copy()
    kept[0, 0, 1, out], kept[0, 0, 1, into] = False, True
    return kept


def test_a_key_near_the_cut_is_a_near_tie_and_others_are_not() -> None:
    choice = row([0.1, 0.5, 0.3, 0.3 - 1e-6], 2)
    tie = agreement("layer", choice, swapped(choice, 2, 3), swapped(choice, 2, 3))
    assert (tie.flipped, tie.forced_flipped, tie.explained) == (1, 1, True)
    assert tie.jaccard == pytest.approx(1 / 3)
    bad = agreement("layer", choice, swapped(choice, 2, 0), swapped(choice, 2, 0))
    assert not bad.explained
    assert bad.gap == pytest.approx(0.4)  # of the largest score


def test_what_follows_an_earlier_flip_is_not_held_against_a_layer() -> None:
    choice = row([0.1, 0.5, 0.3, 0.2], 2)
    found = agreement("layer", choice, swapped(choice, 2, 0), choice.kept)
    assert (found.flipped, found.forced_flipped, found.gap, found.explained) == (1, 0, None, True)


def test_near_coefficients_explain_as_much_as_they_weigh() -> None:
    far = row([0.1, 0.5, 0.3, 0.2], 2)
    kept = swapped(far, 2, 3)
    tied = np.full((1, 1, 2), 1e-6)
    heavy = replace(far, coefficient_lead=tied, reach=np.full((1, 1, 2), 0.5))
    light = replace(far, coefficient_lead=tied, reach=np.full((1, 1, 2), 0.05))
    assert gaps_of(heavy, kept).max() == pytest.approx(1e-6)
    assert gaps_of(light, kept).max() == pytest.approx(0.2 - 0.05)


def test_a_threshold_is_a_cut_as_well() -> None:
    below = row([0.1, 0.5, 0.3, 0.2], 4, threshold=0.2 + 1e-6)
    held = replace(below, kept=below.scores > below.threshold)
    kept = held.kept.copy()
    kept[0, 0, 1, 3] = True
    assert gaps_of(held, kept).max() == pytest.approx(2e-6)
    kept[0, 0, 1, 0] = True
    assert gaps_of(held, kept).max() > 0.1


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return attnc.export("sparsifiner_nano", output=tmp_path_factory.mktemp("keys") / "b")


@pytest.fixture(scope="module")
def source(bundle: Bundle) -> ir.Model:
    """Its graph with sparse attentions, not lowered."""
    model = trace_again(bundle).traced.model
    run_pipeline(model, default())
    return model


class Drill:
    """The bundle's graph, whose layers can be changed, with its kernels."""

    def __init__(self, bundle: Bundle, source: ir.Model) -> None:
        kernels, _ = kernels_here(bundle)
        self.library: Path | None = None if kernels is None else kernels.library
        self.model, self.source = bundle_graph(bundle), source
        self.feed = {"input": seeded_input((1, 3, 64, 64), 0)}

    def look(self, seed: int) -> dict[str, Any]:
        self.feed = {"input": seeded_input((1, 3, 64, 64), seed)}
        return keys.choices_of(self.source, self.feed)

    def layer(self, name: str) -> ir.Node:
        return next(node for node in self.model.graph if node.outputs[0].name == name)

    def change(self, name: str, place: int, factors: Any) -> None:
        value = self.layer(name).inputs[place]
        array = (value.const_value.numpy() * factors).astype(np.float32)
        value.const_value = ir.tensor(array, name=value.name)

    def compare(self, choices: dict[str, Any]) -> list[KeyAgreement]:
        return list(keys.compare_keys(self.model, self.library, self.feed, choices).layers)


@pytest.fixture
def drill(bundle: Bundle, source: ir.Model) -> Drill:
    return Drill(bundle, source)


def nearest(drill: Drill) -> tuple[dict[str, Any], str, tuple[int, ...]]:
    """Inputs on which some query nearly keeps another key: the choices, the layer, the query."""
    for seed in range(30):
        choices = drill.look(seed)
        for name, choice in choices.items():
            lead = np.where(choice.asks, choice.lead, np.inf)
            if lead.min() < NEAR / 3:
                return choices, name, np.unravel_index(lead.argmin(), lead.shape)
    pytest.fail("no query is that near to its cut")


def test_a_flipped_near_tie_of_a_kernel_is_told_apart(drill: Drill) -> None:
    """The score of the last kept key is lowered by a little more than its lead."""
    choices, name, query = nearest(drill)
    scores, keep = choices[name].scores[query], choices[name].keep
    last = np.argsort(-scores, kind="stable")[keep - 1]
    lower = 2 * float(choices[name].lead[query]) * np.abs(scores).max() / abs(scores[last])
    factors = np.ones(len(scores))
    factors[last] -= np.sign(scores[last]) * lower
    drill.change(name, 6, factors)  # the basis, a column for each key
    found = dict(zip(choices, drill.compare(choices), strict=True))
    assert found[name].forced_flipped >= 1
    assert found[name].flipped >= 1
    assert found[name].jaccard < 1
    assert all(layer.explained for layer in found.values())
    factors[last] = 0.9
    drill.change(name, 6, factors)
    wrong = dict(zip(choices, drill.compare(choices), strict=True))
    assert [layer for layer, one in wrong.items() if not one.explained] == [name]


@pytest.mark.parametrize(("attribute", "value"), [("keep", 4), ("coef_topk", 3)])
def test_a_wrong_kernel_is_found_at_its_layer(drill: Drill, attribute: str, value: int) -> None:
    """A kernel that was built of other numbers; later layers only follow it."""
    choices = drill.look(0)
    second = list(choices)[1]
    drill.layer(second).attributes[attribute] = ir.AttrInt64(attribute, value)
    found = drill.compare(choices)
    assert [one.explained for one in found] == [True, False, True, True, True]
    assert found[0].jaccard == 1.0
    assert any(one.flipped for one in found[2:])


def test_the_report_has_keys_and_the_error_with_them_forced(cli: Any, bundle: Bundle) -> None:
    done = cli("verify", bundle.path, "--stages", "--json", "-")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert [layer["layer"] for layer in document["keys"]] == [f"blocks.{n}.attn" for n in range(5)]
    for layer in document["keys"]:
        assert layer["near_tie"]
        assert len(layer["heads"]) == 2
        assert layer["queries"] == 2 * 16
    assert document["relative_error_with_forced_keys"] <= 1e-5
    names = {check["name"]: check["status"] for check in document["checks"]}
    assert names["keys/blocks.0.attn"] == names["keys/forced"] == "verified"
    assert document["outputs"][0].keys() >= document["output_units"].keys()


def test_other_layers_are_refused(drill: Drill) -> None:
    choices = drill.look(0)
    choices.pop(next(iter(choices)))
    with pytest.raises(ValueError, match="different layers"):
        drill.compare(choices)
