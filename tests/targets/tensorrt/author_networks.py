"""One network of each family, written and exported by others, after the default passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import evit_variations
import exports
import glnet_variations
import onnx
import onnx_ir as ir
import sparse_networks
import torch
import window_exports
from rewriting import random_feeds

from attnc.compiler.pipeline import run_pipeline
from attnc.passes import pipelines
from attnc.passes.clean.constants import ConstantsToInitializers
from attnc.passes.clean.infer import InferShapes
from attnc.runtimes.cuda.kernels import kernel_of
from attnc.runtimes.ranges import record_ranges
from attnc.runtimes.tensorrt.sources import Network, code_name, write_sources
from attnc.targets.profile import load_profile
from attnc.targets.tensorrt.emit import Choice, Emission, convert, emit


@dataclass(frozen=True)
class Author:
    """`plugins` by operator; `attentions` that can be the operator Attention; whether it ranks."""

    make: Callable[[], ir.Model]
    plugins: dict[str, int]
    attentions: int = 0
    ranks: bool = False


def evit(habits: evit_variations.Habits, fuse: bool, batch: int | str) -> ir.Model:
    """Two blocks on 4x4 patches, the first keeps 60 % of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = evit_variations.Variation(128, 4, (0.6, 1.0), fuse, habits).eval()
    return _read(evit_variations.export(model, 64, "dynamo", 20, batch))


def _read(data: bytes) -> ir.Model:
    return ir.from_proto(onnx.load_from_string(data))


_SHVIT = {"MapAttention": 3}
_SLOTS = {"PooledSlotCluster": 1, "MapSlotDispatchAdd": 1}
_SPARSE = {"SparseSummary": 1, "SparseRows": 1}
_HABITS = evit_variations.Habits

AUTHORS: dict[str, Author] = {
    "shvit_tokens_dynamic": Author(lambda: _read(exports.export("tokens_dynamic")), _SHVIT),
    "shvit_norm_manual": Author(lambda: _read(exports.export("norm_manual")), _SHVIT),
    "shvit_columns_fused_ts17": Author(lambda: _read(exports.export("columns_fused_ts17")), _SHVIT),
    "glnet_dynamic": Author(lambda: glnet_variations.export("dynamic"), _SLOTS, 1),
    "glnet_opset23": Author(lambda: glnet_variations.export("opset23"), _SLOTS, 1),
    "glnet_learned_ts17": Author(
        lambda: glnet_variations.export("learned_ts17"),
        {"SlotCluster": 1, "MapSlotDispatchAdd": 1},
        1,
    ),
    "evit_unbind_zeroed": Author(
        lambda: evit(_HABITS(cut="unbind", dropped="zeroed"), True, 1),
        {"SelectTokens": 1},
        1,
        ranks=True,
    ),
    "evit_chunk_dynamic": Author(
        lambda: evit(_HABITS(cut="chunk"), False, "dynamic"), {"SelectTokens": 1}, 1, ranks=True
    ),
    "sparsifiner_early": Author(
        lambda: sparse_networks.exported(sparse_networks.STYLES["early"], 20), _SPARSE, ranks=True
    ),
    "sparsifiner_ts": Author(
        lambda: sparse_networks.exported(sparse_networks.STYLES["paper"], None), _SPARSE, ranks=True
    ),
    "tic_einsum": Author(lambda: _read(window_exports.export("einsum")), {"WindowAttention": 1}),
    "tic_multiply_dynamic": Author(
        lambda: _read(window_exports.export("multiply_dynamic")), {"WindowAttention": 1}
    ),
    "tic_pooled_ts17": Author(
        lambda: _read(window_exports.export("pooled_ts17")), {"WindowAttentionPooled": 1}
    ),
}
#: Everything is a plugin that can be one.
PLUGINS = Choice()
#: One of each family, for what takes longer.
ONE_EACH = (
    "shvit_columns_fused_ts17",
    "glnet_dynamic",
    "evit_chunk_dynamic",
    "sparsifiner_early",
    "tic_multiply_dynamic",
)


@cache
def _exported(name: str) -> tuple[bytes, bytes]:
    model = AUTHORS[name].make()
    source = ir.to_proto(model).SerializeToString()
    run_pipeline(model, pipelines.default())
    return source, ir.to_proto(model).SerializeToString()


def source(name: str) -> ir.Model:
    """The file as its author exported it."""
    return _read(_exported(name)[0])


def semantic(name: str) -> ir.Model:
    """The same after the default passes."""
    return _read(_exported(name)[1])


def _ranges(lowered: ir.Model) -> Any:
    return record_ranges(lowered, [random_feeds(lowered, 2, seed) for seed in (7, 8)])


def emitted(
    name: str, folder: Path, profile: str, precision: str, choice: Choice = PLUGINS
) -> tuple[Emission, Path]:
    """Lower a network and write its model file."""
    device = load_profile("tensorrt", profile)
    emission = emit(semantic(name), device, folder, precision, _ranges, choice)
    return emission, folder / "model.onnx"


def with_plugins(name: str, folder: Path, precision: str) -> Path:
    """The model file with `plugin.py` beside it, whose kernels are no code."""
    emission, path = emitted(name, folder, "rtx4090", precision)
    kernels = [kernel for plugin in emission.plugins if (kernel := kernel_of(plugin))]
    sizes = tuple(s if isinstance(s, int) else 1 for s in semantic(name).graph.inputs[0].shape)
    write_sources(folder, kernels, precision, Network(name, "tensorrt_rtx", "x", sizes, "y"))
    for kernel in kernels:
        (folder / "kernels" / f"{code_name(kernel.source)}.ptx").write_text("// PTX\n")
    return path


def plain(name: str, folder: Path, precision: str) -> Path:
    """The author's own export in the precision."""
    model = source(name)
    run_pipeline(model, [ConstantsToInitializers(), InferShapes()])
    convert(model, precision, _ranges)
    ir.save(model, folder / "plain.onnx")
    return folder / "plain.onnx"
