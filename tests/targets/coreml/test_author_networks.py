"""Networks that this repository did not write, as .onnx files, through the whole lowering."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import evit_variations
import exports
import glnet_variations
import onnx
import onnx_ir as ir
import pytest
import sparse_networks
import torch
import window_exports

from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.seeded_input import seeded_input
from attnc.compiler.trace import trace
from attnc.passes.clean.constants import ConstantsToInitializers
from attnc.passes.clean.infer import InferShapes
from attnc.passes.pipelines import default
from attnc.runtimes.compare import compare
from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.judging import evaluate
from attnc.runtimes.coreml.package import Package, open_package
from attnc.runtimes.coreml.program import TensorType
from attnc.runtimes.coreml.ranges import record_ranges
from attnc.runtimes.reference import reference_function
from attnc.targets.coreml.emit import Wish, lower_for
from attnc.targets.coreml.package import Features, convert, save

pytest.importorskip("coremltools")

HABITS = evit_variations.Habits


def evit(habits: evit_variations.Habits, fuse: bool) -> bytes:
    """Two blocks on 4x4 patches, the first keeps 60 % of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = evit_variations.Variation(128, 4, (0.6, 1.0), fuse, habits).eval()
    return evit_variations.export(model, 64, "dynamo", 20, 1)


def _bytes(model: ir.Model) -> bytes:
    data: bytes = ir.to_proto(model).SerializeToString()
    return data


AUTHORS: dict[str, Callable[[], bytes]] = {
    "shvit_tokens_dynamic": partial(exports.export, "tokens_dynamic"),
    "shvit_norm_manual": partial(exports.export, "norm_manual"),
    "shvit_columns_fused_ts17": partial(exports.export, "columns_fused_ts17"),
    "glnet_dynamic": lambda: _bytes(glnet_variations.export("dynamic")),
    "glnet_opset23": lambda: _bytes(glnet_variations.export("opset23")),
    "glnet_learned_ts17": lambda: _bytes(glnet_variations.export("learned_ts17")),
    "evit_unbind_zeroed": lambda: evit(HABITS(cut="unbind", dropped="zeroed"), True),
    "evit_chunk": lambda: evit(HABITS(cut="chunk"), False),
    "sparsifiner_early": lambda: _bytes(
        sparse_networks.exported(sparse_networks.STYLES["early"], 20)
    ),
    "sparsifiner_ts": lambda: _bytes(
        sparse_networks.exported(sparse_networks.STYLES["paper"], None)
    ),
    "tic_einsum": partial(window_exports.export, "einsum"),
    "tic_multiply_dynamic": partial(window_exports.export, "multiply_dynamic"),
    "tic_pooled_ts17": partial(window_exports.export, "pooled_ts17"),
}
#: For every test run; the others take longer.
ONE_EACH = (
    "shvit_columns_fused_ts17",
    "glnet_dynamic",
    "evit_chunk",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("authors")

    def file(name: str) -> Path:
        path = folder / f"{name}.onnx"
        if not path.exists():
            path.write_bytes(AUTHORS[name]())
        return path

    return file


def rewritten(file: Path) -> ir.Model:
    """The file after our passes, for one picture, or two lists of tokens, at once."""
    document = onnx.load(file)
    sizes = document.graph.input[0].type.tensor_type.shape.dim
    if len(sizes) == 4:
        model = trace(file, batch=sizes[0].dim_value or 1).model
    else:  # a layer on tokens
        sizes[0].dim_value = sizes[0].dim_value or 2
        del document.graph.value_info[:]
        model = ir.from_proto(document)
        run_pipeline(model, [ConstantsToInitializers(), InferShapes()])
    run_pipeline(model, default())
    return model


def package(file: Path, folder: Path, ios: int, precision: str) -> Package:
    """The file with one picture at once, as a package of array input."""
    model = rewritten(file)
    shape = tuple(int(size) for size in model.graph.inputs[0].shape or ())

    def record(path: Path) -> dict[str, dict[str, float]]:
        return record_ranges(path, [seeded_input(shape, seed) for seed in (7, 8)])

    lowered = lower_for(model, ios, Wish(precision), record)
    folder.mkdir()
    return open_package(save(convert(lowered.program, ios, Features()), folder))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in ONE_EACH else pytest.mark.slow) for n in AUTHORS],
)
def test_the_program_computes_what_its_author_exported(
    name: str, files: Callable[[str], Path], tmp_path: Path
) -> None:
    file = files(name)
    for ios, precision in ((16, "fp32"), (18, "fp32"), (18, "fp16")):
        made = package(file, tmp_path / f"{ios}{precision}", ios, precision)
        array = seeded_input(made.inputs[0].shape, 3)
        expected = reference_function(file)(array)
        distance = compare(evaluate(Evaluator(made), array).reshape(expected.shape), expected)
        if precision == "fp32":
            assert distance.relative <= 1e-4
        else:
            assert distance.cosine >= (0.98 if "sparsifiner" in name else 0.9999)


@pytest.mark.parametrize("name", ["glnet_dynamic", "evit_chunk"])
def test_no_tensor_has_more_axes_than_four(
    name: str, files: Callable[[str], Path], tmp_path: Path
) -> None:
    made = package(files(name), tmp_path / "made", 16, "fp32")
    block = made.program.functions["main"].block
    kinds = [value.type for operation in block.operations for value in operation.outputs]
    assert max(len(kind.shape) for kind in kinds if isinstance(kind, TensorType)) <= 4
