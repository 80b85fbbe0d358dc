"""Parity on arm64: our library in the real arm64 ONNX Runtime, under emulation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from slot_rounding import slacks

import attnc
from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError
from attnc.compiler.ops import registry
from attnc.compiler.ops.base import DOMAIN, Example, Operator
from attnc.runtimes.cpu.library import library_path
from attnc.targets.cpu.lower import DIRECT
from attnc.tools import arm64

SCRIPT = Path(__file__).resolve().parent.parent / "data" / "run_folder.py"


@pytest.fixture(scope="module")
def sandbox() -> None:
    try:
        arm64.prepare()
    except MissingRuntimeError as error:
        pytest.skip(str(error))


#: Small models of every family, the fused and sparse operators of each among them.
MODELS = {
    "shvit_s1": {"image_size": 64},
    "evit_tiny_k050_fuse": {"image_size": 96},
    # All keys kept: a selection may differ in the last bit, which this model makes much of.
    "sparsifiner_s_a100": {"image_size": 112, "options": {"image_size": 112}},
    "tic_tiny": {"image_size": 64, "options": {"depths": (2, 1, 1, 1)}},
    "glnet_4g": {"image_size": 96, "options": {"dims": (32, 32, 64, 64), "depths": (1, 1, 2, 1)}},
}


def write_case(operator: Operator, example: Example, path: Path) -> None:
    """One operator as a model file, its weights as initializers, its maps as inputs."""
    feeds: dict[str, np.ndarray] = {}
    inputs, graph_inputs, initializers = [], [], []
    for name, array in zip(operator.inputs, example.inputs, strict=True):
        dtype = ir.DataType.from_numpy(array.dtype)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(dtype))
        inputs.append(value)
        if name in {"x", "r"} or operator in registry.SEMANTIC:
            feeds[name] = array
            graph_inputs.append(value)
        else:
            value.const_value = ir.tensor(array, name=name)
            initializers.append(value)
    node = registry.make_node(operator.name, inputs, example.attributes)
    for name, value in zip(operator.outputs, node.outputs, strict=True):
        value.name = name
        whole = ir.DataType.INT64 if name == "index" else ir.DataType.FLOAT
        value.type = ir.TensorType(whole)
    graph = ir.Graph(
        graph_inputs,
        node.outputs,
        nodes=[node],
        initializers=initializers,
        opset_imports={"": 20, DOMAIN: 1},
    )
    ir.save(ir.Model(graph, ir_version=9), path)
    np.savez(path.with_suffix(".npz"), **feeds)


def run_all(folder: Path, isa: str = "", cpu: str = "cortex-a76") -> None:
    """Every model of the folder, on emulated arm64 with its kernels."""
    environment = {"ATTNC_CPU_ISA": isa}
    library = str(library_path("linux-aarch64"))
    arm64.run(str(SCRIPT), str(folder), library, environment=environment, cpu=cpu)


def test_every_kernel_computes_its_reference(sandbox: None, tmp_path: Path) -> None:
    cases = {}
    for operator in (*registry.SEMANTIC, *registry.LOWERED):
        if operator in registry.SEMANTIC and operator.name not in DIRECT:
            continue
        for index, example in enumerate(operator.examples(np.random.default_rng())):
            name = f"{operator.name}-{index}"
            write_case(operator, example, tmp_path / f"{name}.onnx")
            cases[name] = (operator, example)
    run_all(tmp_path)
    for name, (operator, example) in cases.items():
        got = np.load(tmp_path / f"{name}.out.npz")
        want = operator.reference(*example.inputs, **example.attributes)
        wanted = want if isinstance(want, tuple) else (want,)
        allowed = slacks(operator.name, example, wanted)
        for index, (array, slack) in enumerate(zip(wanted, allowed, strict=True)):
            limit = (2e-5 + slack) * max(1.0, float(np.abs(array).max()))
            out = got[f"o{index}"]
            np.testing.assert_allclose(out, array, rtol=0, atol=limit, err_msg=name)


def laid_out(bundle: Bundle, name: str, folder: Path) -> np.ndarray:
    """Put the model and a seeded input into the folder; what the bodies give for it here."""
    shutil.copyfile(bundle.path / "model.onnx", folder / f"{name}.onnx")
    (x,) = bundle.manifest.inputs
    shape = [size if isinstance(size, int) else 1 for size in x.shape]
    feed = np.random.default_rng(0).standard_normal(shape, np.float32)
    np.savez(folder / f"{name}.npz", **{x.name: feed})
    source = attnc.open(bundle.path, kernels=False)
    return np.asarray(next(iter(source.run({x.name: feed}).values())))


#: Processors, the set that is asked for, and whether half-precision arithmetic computes halves.
PROCESSORS = (
    ("cortex-a76", "", True),
    ("cortex-a53", "", False),
    pytest.param("cortex-a76", "neon+fp16", True, marks=pytest.mark.slow),
    pytest.param("cortex-a76", "neon+dot", False, marks=pytest.mark.slow),
    pytest.param("cortex-a76", "plain", False, marks=pytest.mark.slow),
)


@pytest.mark.parametrize(("cpu", "isa", "halves"), PROCESSORS)
def test_fewer_bits_with_and_without_instructions_for_them(
    sandbox: None, tmp_path: Path, cpu: str, isa: str, halves: bool
) -> None:
    """Half-precision arithmetic and dot products where the processor has them, and the same
    numbers without: what says which is how exact the halves are."""
    cases = {}
    for operator in registry.LOW:
        for index, example in enumerate(operator.examples(np.random.default_rng())):
            name = f"{operator.name}-{index}"
            write_case(operator, example, tmp_path / f"{name}.onnx")
            cases[name] = (operator, example)
    run_all(tmp_path, isa, cpu)
    errors = {"Half": [0.0], "Int8": [0.0]}
    for name, (operator, example) in cases.items():
        got = np.load(tmp_path / f"{name}.out.npz")["o0"]
        want = operator.reference(*example.inputs, **example.attributes)
        error = float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))
        errors[operator.name[-4:]].append(error)
    assert max(errors["Int8"]) < 2e-5
    assert max(errors["Half"]) < (4e-3 if halves else 2e-5)
    assert (max(errors["Half"]) > 2e-5) == halves


def test_a_set_that_the_processor_lacks_is_refused(sandbox: None, tmp_path: Path) -> None:
    (example, *_) = registry.get("LinearInt8").examples(np.random.default_rng())
    write_case(registry.get("LinearInt8"), example, tmp_path / "one.onnx")
    with pytest.raises(RuntimeError, match=r"neon\+dot is unknown or not available.*neon, plain"):
        run_all(tmp_path, "neon+dot", "cortex-a53")


@pytest.mark.slow
def test_a_model_of_every_family_computes_what_it_does_here(sandbox: None, tmp_path: Path) -> None:
    """The bundle on emulated arm64 against the source: kernels, tie rules and selections."""
    want = {}
    for name, settings in MODELS.items():
        bundle = attnc.export(name, output=tmp_path / name, measure=False, **settings)
        want[name] = laid_out(bundle, name, tmp_path)
    run_all(tmp_path)
    for name, expected in want.items():
        got = np.load(tmp_path / f"{name}.out.npz")["o0"]
        limit = 5e-5 * max(1.0, float(expected.std()))
        np.testing.assert_allclose(got, expected, rtol=0, atol=limit, err_msg=name)


#: float32 to the last bits; what a row's rounding makes of logits otherwise.
PARITY = {"fp16": 1e-2, "int8": 1e-1}


@pytest.mark.slow
@pytest.mark.parametrize("precision", PARITY)
def test_a_model_of_every_family_in_fewer_bits(
    sandbox: None, tmp_path: Path, precision: str
) -> None:
    """Half-precision arithmetic and dot products in whole models, and what the bodies give."""
    want = {}
    for name, settings in MODELS.items():
        bundle = attnc.export(
            name, target="arm64", precision=precision, output=tmp_path / name, **settings
        )
        want[name] = laid_out(bundle, name, tmp_path)
    run_all(tmp_path)
    for name, expected in want.items():
        got = np.load(tmp_path / f"{name}.out.npz")["o0"]
        error = float(np.abs(got - expected).max() / np.abs(expected).max())
        assert error < PARITY[precision], (name, error)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["android", "arm64"])
def test_both_formats_with_the_bundles_own_library(
    sandbox: None, tmp_path: Path, target: str, name: str
) -> None:
    """`model.ort` was written with the kernels of this machine; the library is the bundle's file.

    Android's asks for `libc.so`, for which Linux's C library stands in here.
    """
    settings = MODELS[name]
    bundle = attnc.export(name, target=target, output=tmp_path / "b", measure=False, **settings)
    (library,) = (bundle.path / entry.path for entry in bundle.manifest.kernels)
    (tmp_path / "libc.so").symlink_to(next((arm64.SANDBOX / "root").rglob("libc.so.6")))
    folder = tmp_path / "models"
    folder.mkdir()
    (x,) = bundle.manifest.inputs
    shape = [size if isinstance(size, int) else 1 for size in x.shape]
    feed = np.random.default_rng().standard_normal(shape, np.float32)
    for form in ("onnx", "ort"):
        shutil.copyfile(bundle.path / f"model.{form}", folder / f"{form}.{form}")
        np.savez(folder / f"{form}.npz", **{x.name: feed})
    found = {"LD_LIBRARY_PATH": str(tmp_path)}
    arm64.run(str(SCRIPT), str(folder), str(library), environment=found)
    source = attnc.open(bundle.path, kernels=False)
    expected = next(iter(source.run({x.name: feed}).values()))
    limit = 5e-5 * max(1.0, float(expected.std()))
    plain, own = (np.load(folder / f"{form}.out.npz")["o0"] for form in ("onnx", "ort"))
    np.testing.assert_allclose(plain, expected, rtol=0, atol=limit)
    np.testing.assert_allclose(own, plain, rtol=0, atol=limit)
