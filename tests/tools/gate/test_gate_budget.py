"""The budget file: what it says, and that every way to get it wrong names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnc.compiler.errors import UsageError
from attnc.tools.gate.budget import Budgets, case_line, load_budgets

WHOLE = """
[gate]
sittings = 6
relative = ["latency", "peak"]
allow = { file_bytes = 0.01 }

[[case]]
model = "shvit_s1"
image_size = [64, 48]
batch = 8
threads = 2
options = { depth = 2 }
dataset = "digits"
[case.limits]
latency_ratio = 1.5
ratio_to = { ort = 0.9 }
accuracy_drop = 0.0
nodes = 46

[[case]]
bundle = "build/web"
target = "web"
limits = { fused_share = 0.9 }
"""


def load(tmp_path: Path, text: str) -> Budgets:
    path = tmp_path / "budgets.toml"
    path.write_text(text)
    return load_budgets(path)


def test_a_whole_file(tmp_path: Path) -> None:
    budgets = load(tmp_path, WHOLE)
    first, second = budgets.case
    assert first.label == "shvit_s1/cpu/64x48/b8/t2"
    assert second.label == "web/web"
    assert first.limits.timed() == ("latency_ratio", "ratio_to")
    assert budgets.gate.allow == {"file_bytes": 0.01}
    assert budgets.gate.burst == 5
    assert "limits" not in first.settings()
    assert (case_line(WHOLE, 0), case_line(WHOLE, 1), case_line(WHOLE, 2)) == (7, 20, 1)


CASE = '[[case]]\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "case: Field required"),
        ("case = []", "case: Tuple should have at least 1 item"),
        (CASE + "limits = { latncy_ms = 1 }", "case[0].limits.latncy_ms: there is no such key"),
        (CASE + "limits = { latency_ms = -1 }", "case[0].limits.latency_ms: Input should be gr"),
        (CASE + "limits = { nodes = 1.5 }", "case[0].limits.nodes: Input should be a valid int"),
        (CASE + "limits = { fused_share = 2 }", "case[0].limits.fused_share:"),
        (CASE + "limits = { ratio_to = { ort = 0 } }", "case[0].limits.ratio_to.ort:"),
        (CASE + 'speed = "fast"', "case[0].speed: there is no such key"),
        (CASE + 'target = "phone"', "case[0].target: Input should be 'cpu'"),
        (CASE + 'target = "web"\nlimits = { p99_ms = 1 }', "case[0]: `limits.p99_ms` is for targ"),
        (CASE + 'target = "tensorrt"\nlimits = { parity = 1 }', "case[0]: the gate does not run"),
        (CASE + "limits = { accuracy_drop = 0 }", "case[0]: `limits.accuracy_drop` needs a `data"),
        (CASE + 'bundle = "b"', "case[0]: give `model` or `bundle`"),
        ('[[case]]\nbundle = "b"\nimage_size = 64', "case[0]: `image_size` is settled in a bundle"),
        (CASE + CASE, "two cases are called 'm/cpu'"),
        ("[gate]\nmost = 4\n" + CASE, "gate: `most` is less than `sittings`"),
        ("[gate]\nrule_out = 0.01\n" + CASE, "gate: `rule_out` has to be more than `margin`"),
        ("[gate]\nallow = { weight = 0.1 }\n" + CASE, "gate.allow.weight"),
        ("[[case]\n", "the budget file is no TOML"),
    ],
)
def test_errors_name_the_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert caught.value.message.startswith(says)
    assert "budgets.toml" in caught.value.where


def test_errors_say_the_line_of_the_case(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, f"{CASE}\n{CASE}threads = 0\n")
    assert caught.value.where.endswith("budgets.toml:4")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the budget file"):
        load_budgets(tmp_path / "none.toml")
