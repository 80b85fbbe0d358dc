"""The table of Core ML's operations: counts of known programs, cells, and what has no row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.program import Block, Function, Operation, TensorType, Value
from attnc.tools import coreml_counts, coreml_table
from attnc.tools.coreml_counts import Counts, Made, check, count, measure, shortened
from attnc.tools.coreml_table import MODELS, Case, left_out, text_of
from attnc.tools.table_page import read


def operation(kind: str, dtype: str, rank: int, *blocks: Block) -> Operation:
    value = Value(kind, TensorType(dtype, (2,) * rank))
    return Operation(kind, kind, {}, (value,), {}, blocks)


def test_counts_of_a_known_program() -> None:
    nested = Block((), (), (operation("gather_along_axis", "fp16", 5),))
    body = (
        *(operation("const", "fp32", 7), operation("constexpr_lut_to_dense", "fp16", 6)),
        *(operation("cast", "fp32", 4), operation("layer_norm", "fp32", 3)),
        *(operation("transpose", "fp16", 3), operation("reshape", "fp16", 4)),
        *(operation("squeeze", "fp16", 3), operation("expand_dims", "fp16", 4)),
        *(operation("gather", "int32", 1), operation("gather_nd", "fp16", 2)),
        operation("cond", "fp16", 1, nested),
    )
    found = count(Function("main", 16, (), Block((), (), body)))
    assert found == Counts(operations=10, rearranged=4, gathers=3, casts=1, wide=1, rank=5)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such op. Please write to us.\nmore"), "ValueError: no such op"),
        (
            RuntimeError("\n  in /home/x/site-packages/a/b.py line 3"),
            "RuntimeError: in b.py line 3",
        ),
        (
            TypeError("<Thing object at 0x7f00ab> is no number"),
            "TypeError: <Thing object> is no number",
        ),
        (NotImplementedError(), "NotImplementedError"),
        (ValueError("needs torch 2.7.0 or iOS 17.2"), "ValueError: needs torch 2.7.0 or iOS 17.2"),
    ],
)
def test_a_message_becomes_one_sentence(error: Exception, said: str) -> None:
    assert shortened(error) == said


def test_long_messages_end_at_a_word() -> None:
    said = shortened(ValueError("word " * 100))
    assert said.endswith("word ...")
    assert len(said) < 200


def found(operations: int, **changes: int) -> dict[str, Any]:
    counts = {"rearranged": 1, "gathers": 0, "casts": 2, "wide": 3, "rank": 4}
    return {"counts": {"operations": operations, **counts, **changes}, "refused": ""}


BOTH = Case("net", 16, {"attnc": found(60), "coremltools": found(80, gathers=5, rank=6)})
ALONE = Case("bad", 18, {"attnc": found(7), "coremltools": {"failed": "ValueError: {no}"}})


def test_a_row_has_both_figures_and_their_ratio() -> None:
    assert BOTH.row() == {
        **{"model": "net", "iOS": "16", "attnc": "60", "coremltools": "80", "ratio": "0.75"},
        **{"transposes, reshapes": "1 / 1", "gathers": "0 / 5", "casts": "2 / 2"},
        **{"float32 results": "3 / 3", "largest rank": "4 / 6"},
    }


def test_a_model_that_coremltools_refuses_keeps_our_figures() -> None:
    row = ALONE.row()
    assert (row["attnc"], row["coremltools"], row["ratio"]) == ("7", "-", "")
    assert row["gathers"] == "0 / -"
    assert left_out([BOTH, ALONE, ALONE]) == (
        "- coremltools is not in the rows of bad: ValueError: {no}"
    )


def test_the_detour_over_jit_trace_is_told() -> None:
    plain = {**found(9), "refused": "TypeError: no"}
    case = Case("net", 16, {"attnc": found(9), "coremltools": plain})
    assert left_out([case]) == (
        "- torch.export is not in the rows of net: "
        "converted from torch.jit.trace after TypeError: no"
    )


def test_the_text_can_be_merged_into_a_page() -> None:
    content = read(text_of([BOTH, ALONE], "fp16"))
    assert [row["model"] for row in content.grids[0].rows] == ["net", "bad"]
    assert sorted(content.sentences.values()) == [["bad"], ["net", "bad"]]
    assert any("fp16, batch 1, a tensor as input" in said for said in content.sentences)


class Stub:
    """`subprocess.run` of the counts: attnc 6, coremltools 8, "bad" none, "gone" dies."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[:3] == [sys.executable, "-m", "attnc.tools.coreml_counts"]
        self.asked.append(command[3:-2])
        maker, model = command[3:5]
        if model == "gone":
            return subprocess.CompletedProcess(command, -11)
        fails = model == "bad" and maker == "attnc"
        answer = {"failed": "E: no"} if fails else found(6 if maker == "attnc" else 8)
        Path(command[-1]).write_text(json.dumps(answer))
        return subprocess.CompletedProcess(command, 0)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = Stub()
    monkeypatch.setattr(coreml_table.subprocess, "run", made)
    return made


def test_rows_go_between_the_marks_of_a_page(
    tmp_path: Path, stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    old = text_of([Case("glnet_4g", 16, {"attnc": found(1), "coremltools": found(2)})], "fp16")
    page.write_text(f"before\n<!-- table -->\n{old}\n<!-- /table -->\nafter\n")
    coreml_table.main("tic_tiny,shvit_s1", "16,18", "fp32", page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[:5] for line in lines] == [
        ["| shvit_s1", "16", "6", "8", "0.75"],
        ["| shvit_s1", "18", "6", "8", "0.75"],
        ["| tic_tiny", "16", "6", "8", "0.75"],
        ["| tic_tiny", "18", "6", "8", "0.75"],
        ["| glnet_4g", "16", "1", "2", "0.50"],
    ]
    assert stub.asked[1] == ["coremltools", "tic_tiny", "--ios", "16", "--precision", "fp32"]
    assert "| shvit_s1 |" in capsys.readouterr().out


def test_models_that_fail_do_not_stop_the_others(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        coreml_table.main("bad,gone,shvit_s1", "16", "fp16", None)
    shown = capsys.readouterr()
    rows = read(shown.out).grids[0].rows
    assert [row["model"] for row in rows] == ["shvit_s1"]
    assert "bad for iOS 16 has no row: E: no" in shown.err
    assert "gone for iOS 16 has no row: the process ended with -11" in shown.err


@pytest.mark.parametrize(("ios", "precision"), [("x", "fp16"), ("14", "fp16"), ("16", "int8w")])
def test_what_cannot_be_compared_is_refused(stub: Stub, ios: str, precision: str) -> None:
    with pytest.raises(UsageError):
        coreml_table.main("shvit_s1", ios, precision, None)
    assert not stub.asked


def test_every_model_of_the_table_is_listed() -> None:
    from attnc.model_defs.registry import list_models

    assert set(MODELS) <= set(list_models())


def test_a_maker_that_raises_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Made:
        raise ValueError("it cannot. Really.")

    monkeypatch.setitem(coreml_counts.MAKERS, "coremltools", refuse)
    assert measure("coremltools", "net", 16, "fp16") == {"failed": "ValueError: it cannot"}


@pytest.mark.usefixtures("importable_data")
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_both_makers_convert_a_tiny_net(precision: str) -> None:
    pytest.importorskip("coremltools")
    for maker in coreml_counts.MAKERS:
        said = measure(maker, "tiny_net:build", 16, precision)
        assert said["refused"] == ""
        counts = said["counts"]
        assert 4 <= counts["operations"] <= 6
        assert (counts["gathers"], counts["casts"], counts["rank"]) == (0, 0, 4)
        assert bool(counts["wide"]) == (precision == "fp32")


@pytest.mark.usefixtures("importable_data")
def test_both_refusals_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("coremltools")

    def refuse(graph: Any, *_: Any) -> None:
        raise ValueError(f"no {type(graph).__name__}. Sorry.")

    monkeypatch.setattr(coreml_counts, "convert", refuse)
    assert measure("coremltools", "tiny_net:build", 16, "fp16") == {
        "failed": "ValueError: no ExportedProgram; from torch.jit.trace "
        "ValueError: no TopLevelTracedModule"
    }


@pytest.mark.usefixtures("importable_data")
def test_jit_trace_is_the_way_round_torch_export(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("coremltools")
    import torch

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("not this net")

    monkeypatch.setattr(torch.export, "export", refuse)
    said = measure("coremltools", "tiny_net:build", 16, "fp16")
    assert said["refused"] == "NotImplementedError: not this net"
    assert said["counts"]["operations"] >= 4


@pytest.mark.slow
def test_shvit_has_fewer_operations_than_the_plain_conversion(tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    page = tmp_path / "page.md"
    page.write_text("<!-- table -->\n<!-- /table -->\n")
    coreml_table.main("shvit_s1", "16", "fp16", page)
    (row,) = read(page.read_text().split("-->")[1].split("<!--")[0]).grids[0].rows
    assert float(row["ratio"]) <= 0.75
    assert int(row["largest rank"].split(" / ")[0]) <= 5


def test_known_versions_are_taken() -> None:
    check(16, "fp16")
    check(18, "fp32")
