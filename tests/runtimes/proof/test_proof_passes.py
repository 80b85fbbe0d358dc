"""Wrong passes are stopped at, named, and shown by a folder that runs without attnc."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from rewriting import MODULE, SOURCE, Builder

from attnc.compiler.errors import UsageError
from attnc.compiler.pipeline import PassResult
from attnc.runtimes.proof.passes import LIMIT64, PassChecker
from attnc.runtimes.proof.repro import save_repro
from attnc.runtimes.proof.values import first_difference


class Edit:
    """A pass that does one thing to every node of a type."""

    reason = "for the test"

    def __init__(self, name: str, op_type: str, edit) -> None:
        self.name, self.op_type, self.edit = name, op_type, edit

    def run(self, model: ir.Model) -> PassResult:
        nodes = [node for node in model.graph if node.op_type == self.op_type]
        for node in nodes:
            self.edit(node, model.graph)
        return PassResult(len(nodes))


def swap(node: ir.Node, graph: ir.Graph) -> None:
    a, b = node.inputs
    node.replace_input_with(0, b)
    node.replace_input_with(1, a)


def drop_axis(node: ir.Node, graph: ir.Graph) -> None:
    del node.attributes["axis"]


def rename(node: ir.Node, graph: ir.Graph) -> None:
    node.name = f"{node.name}_renamed"


def fold_two(node: ir.Node, graph: ir.Graph) -> None:
    """A right rewrite: x - y as -(y - x)."""
    swap(node, graph)
    turned = ir.node("Neg", [node.outputs[0]])
    turned.outputs[0].name = f"{node.outputs[0].name}_neg"
    turned.outputs[0].type, turned.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
    graph.insert_after(node, turned)
    ir.convenience.replace_all_uses_with(
        node.outputs[0], turned.outputs[0], replace_graph_outputs=True
    )
    turned.replace_input_with(0, node.outputs[0])


def overflow(node: ir.Node, graph: ir.Graph) -> None:
    """Right in float64, not in float32."""
    big = ir.Value(name="big", const_value=ir.tensor(np.float32(1e30), name="big"))
    graph.register_initializer(big)
    up = ir.node("Mul", [node.inputs[0], big])
    up2 = ir.node("Mul", [up.outputs[0], big])
    down = ir.node("Div", [up2.outputs[0], big])
    down2 = ir.node("Div", [down.outputs[0], big])
    for index, new in enumerate((up, up2, down, down2)):
        new.outputs[0].name = f"over{index}"
        new.outputs[0].type, new.outputs[0].shape = node.inputs[0].type, node.inputs[0].shape
        graph.insert_before(node, new)
    node.replace_input_with(0, down2.outputs[0])


def network() -> ir.Model:
    b = Builder()
    x = b.input(2, 6, 8)
    weights = b.op("Softmax", b.op("MatMul", x, b.random(8, 6)), axis=1)
    mixed = b.op("MatMul", weights, x)
    return b.model(b.op("Sub", b.op("Mul", mixed, b.random(8)), x))


def checks(*steps: Edit) -> tuple[PassChecker, list]:
    rng = np.random.default_rng()
    inputs = [rng.standard_normal((2, 6, 8)).astype(np.float32) for _ in range(2)]
    checker = PassChecker(network(), inputs)
    return checker, list(checker.run(steps))


RIGHT = Edit("right", "Sub", fold_two)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Edit("swaps", "Sub", swap), "something else in float64"),
        (Edit("drops", "Softmax", drop_axis), "something else in float64"),
        (Edit("overflows", "Sub", overflow), "right in float64, and wrong in float32"),
        (Edit("stops", "Sub", lambda node, graph: {}["x"]), "the pass stopped: KeyError"),
        (Edit("turns", "Sub", lambda n, g: g.outputs.__setitem__(0, n.inputs[0])), ""),
    ],
)
def test_the_first_wrong_pass_is_named_and_stopped_at(step: Edit, said: str) -> None:
    checker, found = checks(RIGHT, step, Edit("never", "Sub", swap))
    assert [check.name for check in found] == ["right", step.name]
    assert found[0].status == "verified"
    assert found[0].float64.max_relative <= LIMIT64
    assert found[1].status == "failed"
    assert said in found[1].reason
    assert checker.wrong is not None
    assert checker.wrong.check is found[1]


def test_passes_that_only_rename_or_do_nothing() -> None:
    checker, found = checks(RIGHT, Edit("nothing", "Relu", swap), Edit("renames", "Mul", rename))
    assert [check.status for check in found][:2] == ["verified", "unchanged"]
    assert found[2].status in ("verified", "unchanged")
    assert checker.wrong is None


def test_the_node_is_found_with_module_and_line() -> None:
    checker, _ = checks(Edit("drops", "Softmax", drop_axis))
    wrong = checker.wrong
    place = first_difference(wrong.before, wrong.after, wrong.feeds, LIMIT64)
    assert (place.operator, place.module, place.source) == ("Softmax", MODULE, SOURCE)
    assert place.error > LIMIT64


def test_the_folder_shows_it_without_attnc(tmp_path: Path) -> None:
    checker, _ = checks(Edit("swaps", "Sub", swap))
    folder = save_repro(checker.wrong, tmp_path / "repro")
    script = (folder / "repro.py").read_text()
    assert "attnc" not in script.replace("not attnc", "")
    assert len([line for line in script.splitlines() if line]) <= 10
    done = subprocess.run(
        [sys.executable, "repro.py"], cwd=folder, capture_output=True, text=True, check=True
    )
    said = float(done.stdout.split("difference:")[1].split()[0])
    expected, got = np.load(folder / "expected.npy"), np.load(folder / "got.npy")
    assert said == pytest.approx(np.abs(expected - got).max(), rel=1e-3)
    assert json.loads((folder / "check.json").read_text())["pass"] == "swaps"
    with pytest.raises(UsageError, match="exists"):
        save_repro(checker.wrong, folder)
