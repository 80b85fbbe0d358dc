"""Parity on arm64: our library in the real arm64 ONNX Runtime, under emulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from attnc.compiler.errors import MissingRuntimeError
from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN, Example, Operator
from attnc.runtimes.cpu.library import library_path
from attnc.tools import arm64

SCRIPT = Path(__file__).resolve().parent.parent / "data" / "run_folder.py"


@pytest.fixture(scope="module")
def sandbox() -> None:
    try:
        arm64.prepare()
    except MissingRuntimeError as error:
        pytest.skip(str(error))


def write_case(operator: Operator, example: Example, path: Path) -> None:
    """One operator as a model file, its weights as initializers, its maps as inputs."""
    feeds: dict[str, np.ndarray] = {}
    inputs, graph_inputs, initializers = [], [], []
    for name, array in zip(operator.inputs, example.inputs, strict=True):
        value = ir.Value(
            name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.FLOAT)
        )
        inputs.append(value)
        if name in {"x", "r"}:
            feeds[name] = array
            graph_inputs.append(value)
        else:
            value.const_value = ir.tensor(array, name=name)
            initializers.append(value)
    node = registry.make_node(operator.name, inputs, example.attributes)
    node.outputs[0].name = "y"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        graph_inputs,
        node.outputs,
        nodes=[node],
        initializers=initializers,
        opset_imports={"": 20, DOMAIN: 1},
    )
    ir.save(ir.Model(graph, ir_version=9), path)
    np.savez(path.with_suffix(".npz"), **feeds)


def test_every_kernel_computes_its_reference(sandbox: None, tmp_path: Path) -> None:
    cases = {}
    for operator in registry.LOWERED:
        for index, example in enumerate(operator.examples(np.random.default_rng())):
            name = f"{operator.name}-{index}"
            write_case(operator, example, tmp_path / f"{name}.onnx")
            cases[name] = (operator, example)
    library = library_path("linux-aarch64")
    arm64.run(str(SCRIPT), str(tmp_path), str(library))
    for name, (operator, example) in cases.items():
        got = np.load(tmp_path / f"{name}.out.npy")
        want = operator.reference(*example.inputs, **example.attributes)
        limit = 2e-5 * max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got, want, rtol=0, atol=limit, err_msg=name)
