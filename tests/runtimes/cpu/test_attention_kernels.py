"""Attention and token selection against float64, in ONNX Runtime and through the C interface."""

from __future__ import annotations

import ctypes

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from kernel_harness import Harness, Host, floats

from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN, Example, Operator
from attnc.runtimes.cpu.library import cpu_features, register

LIMIT = 1e-5  # of the largest output
OPERATORS = [registry.get(name) for name in ("Attention", "SelectedAttention", "SelectTokens")]


def cases(seed: int) -> dict[str, tuple[Operator, Example]]:
    rng = np.random.default_rng(seed)
    return {
        f"{operator.name}-{example.label}": (operator, example)
        for operator in OPERATORS
        for example in operator.examples(rng)
    }


NAMES = list(cases(0))


@pytest.fixture(params=cpu_features())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ATTNC_CPU_ISA", request.param)
    return request.param


def assert_close(found, operator: Operator, example: Example, seed: int) -> None:
    for got, want in zip(found, operator.results(example), strict=True):
        assert got.shape == want.shape
        error = np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-6)
        assert error <= LIMIT, f"relative error {error} with ATTNC_TEST_SEED={seed}"


def open_session(operator: Operator, example: Example, library, threads: int):
    """All inputs from outside, batch and tokens symbolic."""
    values = [
        ir.Value(
            name=name,
            shape=ir.Shape([f"{name}{axis}" for axis in range(array.ndim)]),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        for name, array in zip(operator.inputs, example.inputs, strict=True)
    ]
    node = registry.make_node(operator.name, values, example.attributes, name="node")
    for value, name in zip(node.outputs, operator.outputs, strict=True):
        kind = ir.DataType.INT64 if name == "index" else ir.DataType.FLOAT
        value.name, value.type = name, ir.TensorType(kind)
    graph = ir.Graph(values, node.outputs, nodes=[node], opset_imports={"": 20, DOMAIN: 1})
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    register(options, library)
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=9)).SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(operator: Operator, example: Example, library, threads: int = 1) -> list[np.ndarray]:
    feeds = dict(zip(operator.inputs, example.inputs, strict=True))
    return open_session(operator, example, library, threads).run(None, feeds)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_kernel_in_onnx_runtime(name, threads, isa, library, seed):
    operator, example = cases(seed)[name]
    assert_close(run(operator, example, library, threads), operator, example, seed)


def _sizes(operator: Operator, example: Example) -> list[int]:
    """The integers of the kernel's argument struct."""
    a, shapes = example.attributes, [array.shape for array in example.inputs]
    if operator.name == "SelectTokens":
        x, query, memory, _ = shapes
        sizes = [x[0], query[1], x[1], x[2], query[2], memory[2]]
        return [*sizes, *(a[k] for k in ("heads", "dim_qk", "q_at", "k_at", "keep", "fuse"))]
    (batch, rows, width), (_, columns, other) = shapes[:2]
    heads = [a[key] for key in ("heads", "dim_qk", "dim_v", "q_at", "k_at", "v_at")]
    kept = shapes[2][1] if len(shapes) > 2 else 0
    return [batch, rows, columns, width, other, *heads, kept, a.get("fuse", 0)]


def call(harness: Harness, operator: Operator, example: Example) -> tuple[int, list[np.ndarray]]:
    """Status and outputs of a kernel that sees nothing but poison around its operands."""
    given = [a if a.dtype == np.int64 else floats(a, 1) for a in example.inputs]
    pointers = [array.ctypes.data for array in given]
    if operator.name == "Attention":
        pointers += [0, 0]
    wanted = operator.results(example)
    made = [
        np.full(w.shape, -7, np.int64) if w.dtype == np.int64 else floats(w.size) for w in wanted
    ]
    sizes = _sizes(operator, example)
    pointers += [array.ctypes.data for array in made]
    fields = [(f"p{i}", ctypes.c_void_p) for i in range(len(pointers))]
    fields += [(f"n{i}", ctypes.c_ssize_t) for i in range(len(sizes))]
    struct = type("Arguments", (ctypes.Structure,), {"_fields_": [*fields, ("f", ctypes.c_float)]})
    arguments = struct(*pointers, *sizes, example.attributes["scale"])
    name = "select_tokens_f32" if operator.name == "SelectTokens" else "mha_f32"
    address = harness.kernel(name)
    kernel = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Host), ctypes.c_void_p)(address)
    status = kernel(ctypes.byref(harness.host), ctypes.addressof(arguments))
    assert not harness.live, "scratch leaked"
    for array, want in zip(made, wanted, strict=True):
        if array.dtype == np.float32:
            assert np.isnan(array[want.size :]).all(), "output overrun"
    return status, [a.ravel()[: w.size].reshape(w.shape) for a, w in zip(made, wanted, strict=True)]


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("name", NAMES)
def test_kernel_with_poisoned_memory(name, threads, isa, bench_library, seed):
    operator, example = cases(seed)[name]
    status, found = call(Harness(bench_library, isa, threads), operator, example)
    assert status == 0
    assert_close(found, operator, example, seed)


@pytest.mark.parametrize("name", ["Attention-mNonen50h2d64v64", "SelectedAttention-n60k41f"])
def test_threads_do_not_change_a_bit(name, isa, library, seed):
    one, two = (run(*cases(seed)[name], library, threads)[0] for threads in (1, 3))
    np.testing.assert_array_equal(one, two)


def test_scratch_that_cannot_be_had_is_reported(isa, bench_library, seed):
    for name in ("Attention-mNonen50h2d64v64", "SelectTokens-n60k41f"):
        assert call(Harness(bench_library, isa, fail_alloc=True), *cases(seed)[name])[0] == 1


@pytest.mark.parametrize("wrong", [-1, 59])
def test_an_index_outside_the_tokens_is_an_error(wrong, library, seed):
    operator, example = cases(seed)["SelectedAttention-n60k41f"]
    example.inputs[2][0, 3] = wrong
    with pytest.raises(Exception, match="an index is not the number of a token"):
        run(operator, example, library)


def test_sizes_that_do_not_fit_are_errors(library, seed):
    operator, example = cases(seed)["SelectTokens-n60k41f"]
    for change, text in (
        ({"keep": 60}, "more tokens are kept than there are"),
        ({"k_at": 4000}, "the memory has too few channels"),
    ):
        other = Example("", example.inputs, {**example.attributes, **change})
        with pytest.raises(Exception, match=text):
            run(operator, other, library)
