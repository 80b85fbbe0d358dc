"""The placement lint: every rule finds what it is about, and leaves its neighbour alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_programs import Array, converted, mb, numbers, operations

from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.package import Package
from attnc.runtimes.coreml.placement import Finding, counts, lint
from attnc.runtimes.coreml.placement_rules import RULES

ROOT = Path(__file__).resolve().parents[3]
HALF = np.float16
draw = numbers(7)
Build = Callable[..., Any]
Program = tuple[Build, Array]


def x(*shape: int) -> Array:
    return draw(*shape).astype(HALF)


def weight(*shape: int) -> Array:
    return draw(*shape).astype(HALF)


def best(given: Any) -> Any:
    return mb.topk(x=given, k=3, axis=-1, output_indices_dtype="int32")[1]


def half(given: Any) -> Any:
    return mb.cast(x=given, dtype="fp16")


def twice(given: Any) -> Any:
    """There and back in the middle of a program."""
    return mb.relu(x=half(mb.cast(x=mb.relu(x=given), dtype="fp32")))


def conv(kernel: Array, **options: Any) -> Build:
    return lambda given: mb.conv(x=given, weight=kernel, pad_type="same", **options)


def parts(count: int) -> Build:
    def build(given: Any) -> Any:
        return mb.add(x=(pieces := mb.split(x=given, num_splits=count, axis=1))[0], y=pieces[-1])

    return build


def softmax(axis: int) -> Build:
    return lambda given: mb.softmax(x=given, axis=axis)


def padded(pad: list[int], mode: str) -> Build:
    return lambda given: mb.pad(x=given, pad=pad, mode=mode)


def transposed(*order: int) -> Build:
    return lambda given: mb.transpose(x=given, perm=list(order))


def branching(given: Any) -> Any:
    flag = mb.greater(x=mb.reduce_sum(x=given, keep_dims=False), y=HALF(0))
    return mb.cond(pred=flag, _true_fn=lambda: mb.relu(x=given), _false_fn=lambda: mb.exp(x=given))


def scattered(given: Any) -> Any:
    return mb.scatter(
        data=given, indices=np.array([1], np.int32), updates=weight(1, 32), axis=0, mode="add"
    )


def recurrent(given: Any) -> Any:
    cell = (weight(8, 4), weight(8, 2))
    start = {"initial_h": weight(1, 2), "initial_c": weight(1, 2)}
    return mb.lstm(x=given, weight_ih=cell[0], weight_hh=cell[1], **start)[0]


#: A program that breaks the rule and the nearest one that does not, for each rule.
PROGRAMS: dict[str, tuple[Program, Program]] = {
    "float32": (
        (lambda given: mb.relu(x=given), draw(1, 32)),
        (lambda given: mb.relu(x=given), x(1, 32)),
    ),
    "cast-in-the-middle": ((twice, x(1, 32)), (lambda g: mb.relu(x=half(g)), draw(1, 32))),
    "integer-arithmetic": (
        (lambda given: mb.add(x=best(given), y=np.int32(1)), x(1, 32)),
        (best, x(1, 32)),
    ),
    "rank-over-4": (
        (lambda given: mb.expand_dims(x=given, axes=[0]), x(1, 2, 2, 32)),
        (lambda given: mb.expand_dims(x=given, axes=[0]), x(2, 2, 32)),
    ),
    "large-dimension": (
        (lambda given: mb.relu(x=given), x(1, 1, 16385)),
        (lambda given: mb.relu(x=given), x(1, 1, 16384)),
    ),
    "singleton-inner-dimension": (
        (lambda given: mb.relu(x=given), x(1, 8, 1)),
        (lambda given: mb.relu(x=given), x(1, 1, 8)),
    ),
    "odd-inner-dimension": (
        (lambda given: mb.relu(x=given), x(1, 8, 33)),
        (lambda given: mb.relu(x=given), x(1, 8, 64)),
    ),
    "layout-copy": ((transposed(0, 2, 1), x(1, 8, 32)), (transposed(1, 0, 2), x(1, 8, 32))),
    "linear-layer": (
        (lambda given: mb.linear(x=given, weight=weight(32, 8)), x(1, 8)),
        (conv(weight(32, 8, 1, 1)), x(1, 8, 1, 32)),
    ),
    "large-softmax": ((softmax(1), x(1, 1025, 1, 1024)), (softmax(1), x(1, 1024, 1, 1024))),
    "softmax-other-axis": ((softmax(-1), x(1, 8, 1, 32)), (softmax(1), x(1, 8, 1, 32))),
    "dynamic-gather": (
        (lambda g: mb.gather(x=g, indices=mb.squeeze(x=best(g), axes=[0]), axis=1), x(1, 32)),
        (lambda g: mb.gather(x=g, indices=[0, 2], axis=1), x(1, 32)),
    ),
    "constant-gather": (
        (lambda given: mb.gather(x=given, indices=[0, 2], axis=1), x(1, 32)),
        (lambda given: mb.slice_by_size(x=given, begin=[0, 2], size=[1, 2]), x(1, 32)),
    ),
    "scatter": ((scattered, x(4, 32)), (lambda given: mb.add(x=given, y=HALF(1)), x(4, 32))),
    "topk-sort": (
        (lambda given: mb.topk(x=given, k=3, axis=-1)[0], x(1, 32)),
        (lambda given: mb.reduce_max(x=given, axes=[-1]), x(1, 32)),
    ),
    "long-argmax": (
        (lambda given: mb.reduce_argmax(x=given, axis=-1), x(1, 2049)),
        (lambda given: mb.reduce_argmax(x=given, axis=-1), x(1, 2048)),
    ),
    "no-hardware-path": (
        (lambda given: mb.reduce_prod(x=given, axes=[1]), x(1, 32)),
        (lambda given: mb.reduce_sum(x=given, axes=[1]), x(1, 32)),
    ),
    "texture-sampling": (
        (
            lambda g: mb.upsample_bilinear(x=g, scale_factor_height=2.0, scale_factor_width=2.0),
            x(1, 1, 4, 16),
        ),
        (conv(weight(1, 1, 3, 3)), x(1, 1, 4, 16)),
    ),
    "padding": (
        (padded([0, 0, 1, 1], "reflect"), x(1, 4, 4, 30)),
        (padded([0, 0, 1, 1], "constant"), x(1, 4, 4, 30)),
    ),
    "recurrent": ((recurrent, x(5, 1, 4)), (lambda given: mb.tanh(x=given), x(5, 1, 4))),
    "control-flow": ((branching, x(1, 32)), (lambda given: mb.relu(x=given), x(1, 32))),
    "dynamic-weights": (
        (
            lambda g: mb.conv(x=g, weight=mb.relu(x=g), pad_type="valid"),
            x(4, 4, 1, 32),
        ),
        (conv(weight(4, 4, 1, 3)), x(4, 4, 1, 32)),
    ),
    "large-kernel": (
        (conv(weight(1, 1, 1, 14)), x(1, 1, 4, 32)),
        (conv(weight(1, 1, 13, 13)), x(1, 1, 16, 32)),
    ),
    "three-dimensional-convolution": (
        (conv(weight(1, 1, 3, 3, 3)), x(1, 1, 4, 4, 32)),
        (conv(weight(1, 1, 3, 3)), x(1, 1, 4, 32)),
    ),
    "dilated-convolution": (
        (conv(weight(1, 1, 3, 3), dilations=[2, 2]), x(1, 1, 8, 32)),
        (conv(weight(1, 1, 3, 3)), x(1, 1, 8, 32)),
    ),
    "many-splits": ((parts(12), x(1, 24, 32)), (parts(11), x(1, 22, 32))),
}


def package(program: Program, folder: Path) -> Package:
    build, given = program
    return converted(folder, build, (given,), "iOS17" if given.dtype == HALF else "iOS16")


def test_every_rule_has_its_programs() -> None:
    assert set(PROGRAMS) == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_rule(rule: str, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    bad, good = PROGRAMS[rule]
    found = lint(package(bad, tmp_path / "bad"), {})
    assert rule in counts(found)
    assert all(finding.detail for finding in found)
    assert rule not in counts(lint(package(good, tmp_path / "good"), {}))


def test_findings_say_where_they_come_from(tmp_path: Path) -> None:
    opened = package((softmax(-1), x(1, 8, 1, 32)), tmp_path)
    (operation,) = (each for each in operations(opened) if each.type == "softmax")
    origins = {operation.name: {"node": "n", "module": "blocks.1", "source": "net.py:7"}}
    assert lint(opened, origins) == [
        Finding(
            "softmax-other-axis",
            operation.name,
            "softmax",
            "blocks.1",
            "net.py:7",
            "axis 3 of rank 4",
        )
    ]


@pytest.mark.parametrize(
    ("shape", "said"), [((1, 4, 33), "1.94 times"), ((1, 4, 1), "32 times"), ((1, 4, 96), "")]
)
def test_padding_factors(shape: tuple[int, ...], said: str, tmp_path: Path) -> None:
    found = lint(package((lambda given: mb.relu(x=given), x(*shape)), tmp_path), {})
    details = [each.detail for each in found if each.rule.endswith("inner-dimension")]
    assert [detail.startswith(said) for detail in details] == [True] * bool(said)


def test_channels_are_not_padded(tmp_path: Path) -> None:
    opened = package((padded([1, 1, 0, 0, 0, 0], "constant"), x(1, 4, 4, 32)), tmp_path)
    assert counts(lint(opened, {}))["padding"] == 1


def test_slices_of_one_value_are_branches(tmp_path: Path) -> None:
    def sliced(given: Any) -> Any:
        whole = mb.relu(x=given)
        pieces = [mb.slice_by_size(x=whole, begin=[0, n], size=[1, 1]) for n in range(12)]
        return mb.concat(values=pieces, axis=0)

    found = lint(package((sliced, x(1, 32)), tmp_path), {})
    assert [each.kind for each in found if each.rule == "many-splits"] == ["relu", "concat"]


def test_a_reshape_that_keeps_the_last_axis_is_no_copy(tmp_path: Path) -> None:
    for shape, times in (([4, 2, 32], 0), ([4, 64], 1)):
        (folder := tmp_path / str(times)).mkdir()
        opened = package((lambda g, s=shape: mb.reshape(x=g, shape=s), x(8, 32)), folder)
        assert counts(lint(opened, {})).get("layout-copy", 0) == times


def test_an_unknown_function_is_refused(tmp_path: Path) -> None:
    opened = package((softmax(-1), x(1, 8, 1, 32)), tmp_path)
    with pytest.raises(UsageError, match="no function 'other'"):
        lint(opened, {}, "other")


def test_the_documentation_lists_the_rules() -> None:
    lines = (ROOT / "docs" / "coreml-placement.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "<http" in line]
    assert cells == [
        [
            rule.name,
            rule.effect,
            rule.basis,
            rule.description,
            ", ".join(f"<{url}>" for url in rule.sources),
        ]
        for rule in RULES
    ]


def test_sources_are_addresses() -> None:
    for rule in RULES:
        assert rule.sources, rule.name
        assert all(url.startswith("https://") for url in rule.sources)
