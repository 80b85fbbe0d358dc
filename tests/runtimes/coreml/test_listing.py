"""The readable listing and the summary: what they show of a program, and where from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_programs import Array, converted, ct, mb
from saved_packages import WEIGHT, save_classifier, save_enumerated

from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.listing import Line, as_text, list_operations, select, value_text
from attnc.runtimes.coreml.origins import read_origins
from attnc.runtimes.coreml.package import Package, open_package
from attnc.runtimes.coreml.summary import summarise

X: Array = np.ones((1, 3, 8, 6), np.float16)
KERNEL = np.concatenate([np.zeros((2, 3, 1, 1)), np.full((2, 3, 1, 1), 0.5)]).astype(np.float16)


def network(given: Any) -> Any:
    mixed = mb.conv(x=given, weight=KERNEL, pad_type="valid", name="mix")
    parts = mb.split(x=mixed, num_splits=2, axis=1, name="halves")
    joined = mb.concat(values=[parts[1], parts[0]], axis=1, name="swap")
    return mb.mul(x=joined, y=np.float16(0.1), name="scaled")


ORIGINS = {
    "mix": {"node": "conv", "module": "stages.1", "source": "net.py:3"},
    "halves": {"node": "split", "module": "stages.1", "source": "net.py:4"},
    "swap": {"node": "cat", "module": "stages.10.mlp", "source": "net.py:9"},
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return converted(tmp_path_factory.mktemp("listing"), network, (X,), "iOS17")


@pytest.fixture(scope="module")
def lines(package: Package) -> list[Line]:
    return list_operations(package.program.functions["main"], ORIGINS)


def test_operations_in_order_without_constants(lines: list[Line]) -> None:
    assert [line.kind for line in lines] == ["conv", "split", "concat", "mul"]
    assert [line.name for line in lines] == ["mix", "halves", "swap", "scaled"]


def test_types_references_and_constants(lines: list[Line]) -> None:
    mix, halves, swap, scaled = lines
    assert mix.outputs == ("%mix: fp16[1, 4, 8, 6]",)
    assert mix.inputs["x"] == "%x0"
    assert mix.inputs["weight"] == "fp16[4, 3, 1, 1] 0..0.5, 50% zeros"
    assert mix.inputs["pad_type"] == "'valid'"
    assert len(halves.outputs) == 2
    assert swap.inputs["values"] == "(%halves_1, %halves_0)"
    assert scaled.inputs["y"] == "0.0999756"
    assert str(scaled) == "%scaled: fp16[1, 4, 8, 6] = mul(x=%swap, y=0.0999756)"


def test_computed_inputs_come_first(lines: list[Line]) -> None:
    assert all(next(iter(line.inputs)) in ("x", "values") for line in lines)


def test_a_heading_per_module(lines: list[Line]) -> None:
    texts = as_text(lines)
    assert [text for text in texts if text.startswith("--")] == ["-- stages.1", "-- stages.10.mlp"]
    assert texts[2].endswith("  # net.py:3")
    assert texts[-1] == str(lines[-1])


def test_selection(lines: list[Line]) -> None:
    assert [line.name for line in select(lines, "conv")] == ["mix"]
    assert [line.name for line in select(lines, "halv")] == ["halves"]
    assert [line.name for line in select(lines, module="stages.1")] == ["mix", "halves"]
    assert [line.name for line in select(lines, module="stages.10")] == ["swap"]
    assert select(lines, "conv", "stages.10") == []


def test_an_origin_may_go_by_an_output(package: Package) -> None:
    origins = {"halves_1": {"module": "a.b", "source": "s.py:1"}}
    halves = list_operations(package.program.functions["main"], origins)[1]
    assert (halves.module, halves.source) == ("a.b", "s.py:1")


def test_nested_blocks_are_indented(tmp_path: Path) -> None:
    def branching(given: Any) -> Any:
        flag = mb.greater(x=mb.reduce_sum(x=given, keep_dims=False), y=np.float16(0))
        return mb.cond(
            pred=flag, _true_fn=lambda: mb.relu(x=given), _false_fn=lambda: mb.exp(x=given)
        )

    package = converted(tmp_path, branching, (X,), "iOS17")
    lines = list_operations(package.program.functions["main"], {})
    assert [(line.kind, line.depth) for line in lines[2:]] == [("cond", 0), ("relu", 1), ("exp", 1)]
    assert str(lines[-1]).startswith("  %")


def test_compressed_weights_are_shown_where_they_are_used(tmp_path: Path) -> None:
    from coremltools.optimize import coreml as optimize

    kernel = np.random.default_rng(3).standard_normal((16, 3, 3, 3)).astype(np.float16)
    plain = converted(tmp_path, lambda x: mb.conv(x=x, weight=kernel), (X,), "iOS18")
    config = optimize.OptimizationConfig(
        optimize.OpPalettizerConfig(mode="kmeans", nbits=4, weight_threshold=0)
    )
    model = ct.models.MLModel(str(plain.path), skip_model_load=True)
    optimize.palettize_weights(model, config).save(str(tmp_path / "small.mlpackage"))
    small = open_package(tmp_path / "small.mlpackage")
    (line,) = list_operations(small.program.functions["main"], {})
    assert line.inputs["weight"] == "fp16[16, 3, 3, 3] constexpr_lut_to_dense"
    summary = summarise(small)
    assert summary.constants["constexpr_lut_to_dense"] == 1
    assert summary.weights["uint4"] == kernel.size // 2
    assert summarise(plain).weights["fp16"] == kernel.size * 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("same", "'same'"),
        (np.array(3), "3"),
        (np.array([True, False]), "[True, False]"),
        (np.array([[0.5, 1e-6]], np.float32), "[[0.5, 1e-06]]"),
        (np.arange(9, dtype=np.int32), "int32[9] 0..8, 11% zeros"),
        (np.zeros(9, bool), "bool[9] 0..0, 100% zeros"),
        (np.array(list("abcdefghi")), "str32[9] texts"),
        (["cat", "dog"], "['cat', 'dog']"),
        (list("abcdefghi"), "9 values"),
    ],
)
def test_constants_as_text(value: Any, text: str) -> None:
    assert value_text(value) == text


def test_summary_counts(package: Package) -> None:
    summary = summarise(package)
    assert summary.operations == {"conv": 1, "split": 1, "concat": 1, "mul": 1}
    assert set(summary.constants) == {"const"}
    assert summary.weights["fp16"] == KERNEL.nbytes + 2
    assert (summary.opset, summary.largest_rank) == (17, 4)
    assert summary.specification_version == package.specification_version
    json.dumps(summary.as_json())


def test_summary_of_a_classifier_of_pictures(tmp_path: Path) -> None:
    summary = summarise(open_package(save_classifier(tmp_path)))
    assert [(feature.kind, feature.colour) for feature in summary.inputs] == [("image", "BGR")]
    assert {feature.kind for feature in summary.outputs} == {"label", "dictionary"}
    assert summary.weights["fp16"] == WEIGHT.size * 2
    assert summary.metadata["author"] == "somebody"


def test_listing_of_a_program_with_open_sizes(tmp_path: Path) -> None:
    package = open_package(save_enumerated(tmp_path))
    texts = [str(line) for line in list_operations(package.program.functions["main"], {})]
    assert any("[1, 4, ?, ?]" in text for text in texts)
    assert len(summarise(package).inputs[0].allowed) == 2


def test_lines_are_plain_data(lines: list[Line]) -> None:
    document = json.loads(json.dumps(lines[0].as_json()))
    assert document["kind"] == "conv"
    assert document["inputs"]["x"] == "%x0"


def test_an_unknown_function_is_refused(package: Package) -> None:
    with pytest.raises(UsageError, match="no function 'other'") as raised:
        summarise(package, "other")
    assert "main" in raised.value.remedy


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"module": 3}}'])
def test_damaged_origins_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "origins.json").write_text(content)
    with pytest.raises(UsageError, match="origins") as raised:
        read_origins(tmp_path / "origins.json")
    assert raised.value.remedy
    with pytest.raises(UsageError):
        read_origins(tmp_path / "missing.json")
