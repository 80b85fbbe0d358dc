"""The kernels of GLMix's slots against float64: poisoned memory, any task order, ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from kernel_harness import Harness
from slot_rounding import slacks

from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN, Example
from attnc.runtimes.cpu.library import cpu_features, register

LIMIT = 1e-5  # of the largest output
OPERATORS = ("GridPool", "SlotCluster", "SlotDispatch", "SlotDispatchAdd")
NAMES = [
    (name, index)
    for name in OPERATORS
    for index in range(len(registry.get(name).examples(np.random.default_rng(0))))
]


def example_of(name: str, index: int, seed: int) -> Example:
    return registry.get(name).examples(np.random.default_rng(seed))[index]


def call(harness: Harness, name: str, example: Example, offset: int = 0):
    """Status and outputs through the plain C interface."""
    shapes = [array.shape for array in example.inputs]
    outputs = list(registry.get(name).output_shapes(shapes, example.attributes))
    first, inputs = shapes[0], list(example.inputs)
    if name == "GridPool":
        sizes = [*first, *example.attributes["grid"]]
        return harness.call_kernel("grid_pool_f32", inputs, outputs, sizes, [], offset)
    if name == "SlotCluster":
        sizes = [first[0], shapes[1][0], first[1], shapes[1][1], first[2]]
        reals = [example.attributes["scale"]]
        return harness.call_kernel("slot_cluster_f32", inputs, outputs, sizes, reals, offset)
    inputs = [*inputs, None][:3]
    sizes = [*first, shapes[1][2]]
    return harness.call_kernel("slot_dispatch_f32", inputs, outputs, sizes, [], offset)


def assert_close(name: str, example: Example, outputs, seed: int) -> None:
    expected = registry.get(name).results(example)
    allowed = slacks(name, example, expected)
    for got, want, slack in zip(outputs, expected, allowed, strict=True):
        assert got.shape == want.shape
        error = np.abs(got - want).max() / (np.abs(want).max() or 1.0)
        assert error <= LIMIT + slack, f"relative error {error} with ATTNC_TEST_SEED={seed}"


def one_node_model(name: str, example: Example) -> bytes:
    operator = registry.get(name)
    inputs = [
        ir.Value(
            name=key, shape=ir.Shape([None] * array.ndim), type=ir.TensorType(ir.DataType.FLOAT)
        )
        for key, array in zip(operator.inputs, example.inputs, strict=True)
    ]
    node = registry.make_node(name, inputs, example.attributes)
    for key, value in zip(operator.outputs, node.outputs, strict=True):
        value.name, value.type = key, ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": 20, DOMAIN: 1})
    return ir.serde.serialize_model(ir.Model(graph, ir_version=9)).SerializeToString()


def run_session(library, name: str, example: Example, threads: int = 1) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    register(options, library)
    model = one_node_model(name, example)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(registry.get(name).inputs, example.inputs, strict=True)))


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("name", "index"), NAMES)
def test_kernel_in_onnx_runtime(name, index, threads, isa, library, seed, monkeypatch):
    monkeypatch.setenv("ATTNC_CPU_ISA", isa)
    example = example_of(name, index, seed)
    assert_close(name, example, run_session(library, name, example, threads), seed)


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize(("name", "index"), NAMES)
def test_kernel_with_poisoned_memory(name, index, threads, isa, bench_library, seed):
    example = example_of(name, index, seed)
    harness = Harness(bench_library, isa, threads)
    status, outputs = call(harness, name, example, offset=1 if threads else 0)
    assert status == 0
    assert_close(name, example, outputs, seed)


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("name", OPERATORS)
def test_the_order_of_tasks_does_not_change_a_bit(name, isa, bench_library, seed):
    example = example_of(name, 3, seed)
    one, other = (call(Harness(bench_library, isa, n), name, example)[1] for n in (0, 3))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("isa", cpu_features())
@pytest.mark.parametrize("name", ["SlotCluster", "SlotDispatch"])
def test_scratch_that_cannot_be_had_is_reported(name, isa, bench_library, seed):
    harness = Harness(bench_library, isa, fail_alloc=True)
    assert call(harness, name, example_of(name, 0, seed))[0] == 1


@pytest.mark.parametrize("name", OPERATORS)
def test_an_empty_batch_gives_an_empty_output(name, library, seed):
    example = example_of(name, 0, seed)
    empty = Example("empty", tuple(array[:0] for array in example.inputs), example.attributes)
    for got, want in zip(
        run_session(library, name, empty), registry.get(name).results(example), strict=True
    ):
        assert got.shape == (0, *want.shape[1:])


def test_a_nan_token_poisons_its_own_row_and_all_slots(library, seed):
    example = example_of("SlotCluster", 0, seed)
    x = example.inputs[0].copy()
    x[0, 7, 3] = np.nan
    poisoned = Example("nan", (x, example.inputs[1]), example.attributes)
    y, logits = run_session(library, "SlotCluster", poisoned)
    assert np.isnan(y[0]).all()
    assert np.isnan(logits[0, 7]).all()
    assert np.isfinite(y[1]).all()
    assert np.isfinite(np.delete(logits, 7, axis=1)).all()


@pytest.mark.parametrize(
    ("name", "shapes", "told"),
    [
        ("SlotCluster", [(1, 5, 4), (1, 3, 6)], "widths"),
        ("SlotCluster", [(3, 5, 4), (2, 3, 4)], "batches"),
        ("SlotCluster", [(1, 0, 4), (1, 3, 4)], "no tokens"),
        ("SlotDispatch", [(1, 5, 4), (1, 3, 6)], "fit"),
        ("GridPool", [(1, 0, 4, 8)], "empty"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, shapes, told, library):
    attributes = {"GridPool": {"grid": [2, 2]}, "SlotCluster": {"scale": 1.0}}.get(name, {})
    arrays = tuple(np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(Exception, match=told):
        run_session(library, name, Example("bad", arrays, attributes))
