"""Names, options, outputs and checkpoints that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_messages import USAGE, leftovers, one_message

pytestmark = pytest.mark.usefixtures("importable_data")

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shvit_s5"], ["unknown model 'shvit_s5'", "did you mean 'shvit_s"]),
        (["shvit_s1", "--target", "cpuu"], ["unknown target 'cpuu'", "did you mean cpu"]),
        (["shvit_s1", "--profile", "nativ"], ["unknown profile 'nativ'", "did you mean native"]),
        (["shvit_s1", "--batch", "0"], ["--batch '0'"]),
        (["shvit_s1", "--batch", "-1"], ["--batch '-1'"]),
        (["shvit_s1", "--batch", "some"], ["--batch 'some'"]),
        (["shvit_s1", "--image-size", "0"], ["--image-size '0'"]),
        (["shvit_s1", "--image-size", "big"], ["--image-size 'big'"]),
        (["shvit_s1", "--image-size", "32"], ["32x32", "at least 64"]),
        (["shvit_s1", "--num-classes", "0"], ["classes"]),
        (["shvit_s1", "--checkpoint", "none.pth"], ["none.pth"]),
        (["no_such_package.nets:build"], ["no_such_package"]),
        (["tiny_net:no_such_factory"], ["no_such_factory"]),
        (["none.onnx"], ["none.onnx"]),
        (["none.pt2"], ["none.pt2"]),
        (["tiny_net:build", "--labels", "none.txt"], ["none.txt"]),
        (["tiny_net:build", "--option", "classes"], ["--option 'classes'", "KEY=VALUE"]),
        (["tiny_net:build", "--option", "colour=red"], ["colour"]),
    ],
)
def test_names_and_options(cli: Any, tmp_path: Path, arguments: list[str], said: list[str]) -> None:
    done = cli("export", *arguments, "-o", tmp_path / "out")
    lines = [line for line in done.err.splitlines() if not line.startswith("[")]
    one_message(done, USAGE, *said)
    assert len(lines) <= 4, done.err
    assert leftovers(tmp_path) == []


def test_unknown_things_of_other_commands(cli: Any, tiny_bundle: Path) -> None:
    one_message(cli("bench", tiny_bundle, "--against", "ortt"), USAGE, "'ortt'", "'ort'")
    one_message(cli("bench", tiny_bundle, "--threads", "0"), USAGE, "--threads '0'")
    one_message(cli("bench", tiny_bundle, "--threads", ","), USAGE, "--threads")
    one_message(cli("explain", "shvit_s9"), USAGE, "shvit_s9")
    assert cli("list", "colours").code == USAGE
    assert cli("exprt").code == USAGE
    assert cli("export", "shvit_s1").code == USAGE


def test_output_exists_with_other_content(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    done = cli("export", "tiny_net:build", "-o", tmp_path / "out")
    one_message(done, USAGE, "exists and is not empty", "--force")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"
    assert cli("export", "tiny_net:build", "-o", tmp_path / "out", "--force").code == 0
    assert not (tmp_path / "out" / "thesis.txt").exists()
    assert leftovers(tmp_path) == ["out"]


def test_json_file_that_cannot_be_written(cli: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    done = cli("verify", tiny_bundle, "--json", tmp_path / "none" / "report.json")
    one_message(done, USAGE, "cannot write", "report.json")


# --- checkpoints ---------------------------------------------------------------------------------


def write_checkpoint(kind: str, path: Path) -> None:
    import torch

    from attnc.model_defs.registry import build_model

    if kind == "other model":
        torch.save({"model": build_model("shvit_s2").state_dict()}, path)
    elif kind == "truncated":
        torch.save({"model": build_model("shvit_s1").state_dict()}, path)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "pickled objects":
        torch.save({"model": Path("x")}, path)
    elif kind == "text":
        path.write_text("weights")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("other model", "not one of shvit_s1"),
        ("truncated", "truncated"),
        ("pickled objects", "pickled objects"),
        ("text", "no torch file"),
    ],
)
def test_checkpoints(cli: Any, tmp_path: Path, kind: str, said: str) -> None:
    write_checkpoint(kind, tmp_path / "weights.pth")
    options = ["--checkpoint", tmp_path / "weights.pth", "-o", tmp_path / "out"]
    one_message(cli("export", "shvit_s1", *options), USAGE, said)
    assert leftovers(tmp_path) == ["weights.pth"]
