"""Kernels to render plugins for, and what their launches depend on."""

from __future__ import annotations

import importlib.util
import itertools
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnc.runtimes.cuda.kernels import KERNELS
from attnc.runtimes.cuda.launch import CudaKernel
from attnc.runtimes.tensorrt.sources import Network, Plugin, Signature, signature_of, write_sources

#: Maps, sizes on top of sizes, much shared memory, a float.
MAP = CudaKernel(
    operator="MapLike",
    entry="map_like",
    source="map_like.cu",
    scalars=("in0_0", "n", "in1_1", "dim_qk", "dim_v", "float_bits(scale)"),
    outputs=(("in1_0", "in1_1", "in1_2", "in1_3"),),
    grid=("ceil_div(n, rows)", "in0_0", "1"),
    block=128,
    shared_bytes="4 * (rows * dim_qk + 2 * rows * imax(dim_qk, dim_v))",
    sizes={"n": "in0_2 * in0_3", "rows": "imin(32, n)"},
)
#: Integer tensors, lists as attributes, several outputs, every function and sign.
CHOOSE = CudaKernel(
    operator="Choose",
    entry="choose",
    source="choose.cu",
    scalars=("in0_1", "keep", "grid_0 * grid_1"),
    outputs=(
        ("in0_0", "2 + imin(keep, in0_1 + 1)", "in0_2"),
        ("in0_0", "imin(keep, 1 + in0_1)"),
        ("in0_0", "ceil_div(in0_1, grid_0)", "1 + floor_div(in0_2 - 1, grid_1)", "imax(1, keep)"),
    ),
    grid=("in0_0", "1 + floor_div(in0_2, 2)", "-(0 - in0_1)"),
    block=64,
    integer_inputs=(1,),
    integer_outputs=(1,),
)
SIGNATURES = {
    "MapLike": Signature(("qkv", "x"), {"dim_qk": "int", "dim_v": "int", "scale": "float"}),
    "Choose": Signature(("x", "index"), {"keep": "int", "grid": "ints"}),
}
ALL = (*KERNELS, MAP, CHOOSE)
#: Stands where compiled code would; only a GPU reads that.
CODE = {"map_like.ptx": b"// PTX of map_like\n", "choose.ptx": b"// PTX of choose\n"}
PRECISIONS = ("fp32", "fp16", "bf16")


def network(**changes: Any) -> Network:
    """A network of one picture and one output."""
    known: dict[str, Any] = {
        "name": "shvit_s1",
        "runtime": "tensorrt_rtx",
        "input": "image",
        "shape": (1, 3, 224, 224),
        "output": "logits",
        "batches": (1, 8, 32),
    }
    return Network(**{**known, **changes})


def write_own(folder: Path, precision: str = "fp16", **changes: Any) -> list[str]:
    """The bundle of the two kernels above, with code in `kernels/`."""
    sources = folder.parent / f"{folder.name}_sources"
    sources.mkdir(parents=True, exist_ok=True)
    for kernel in (MAP, CHOOSE):
        entries = [f'extern "C" __global__ void {kernel.entry}_{p}() {{}}' for p in PRECISIONS]
        text = "\n".join(['#include "shared.cuh"', *entries, ""])
        (sources / kernel.source).write_text(text, encoding="utf-8")
    (sources / "shared.cuh").write_text("#pragma once\n", encoding="utf-8")
    written = write_sources(
        folder,
        (MAP, CHOOSE),
        precision,
        network(**changes),
        signatures=SIGNATURES,
        kernel_sources=sources,
    )
    for name, code in CODE.items():
        (folder / "kernels" / name).write_bytes(code)
    return written


def plugin_of(kernel: CudaKernel) -> Plugin:
    """A kernel with its operator's signature."""
    return Plugin(kernel, SIGNATURES.get(kernel.operator) or signature_of(kernel.operator))


def load(path: Path, name: str) -> Any:
    """Import a rendered module from its file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def draw(kernel: CudaKernel, rng: random.Random) -> tuple[list[list[int]], dict[str, Any]]:
    """Sizes of inputs and attributes, as many as the kernel's expressions read."""
    plugin = plugin_of(kernel)
    used = [*plugin.output_bindings, *plugin.launch_bindings]
    shapes = []
    for number in range(len(plugin.signature.inputs)):
        axes = [b.index for b in used if b.kind == "input" and b.number == number]
        shapes.append(
            [rng.choice((1, 2, 7, 16, 49, 197, 512)) for _ in range(max(axes, default=0) + 1)]
        )
    attributes: dict[str, Any] = {}
    for name, kind in plugin.signature.attributes.items():
        length = max([b.index for b in used if b.of == name], default=0) + 1
        numbers = [rng.randrange(1, 65) for _ in range(length)]
        attributes[name] = {"ints": numbers, "int": numbers[0]}.get(kind, rng.uniform(-4, 4))
    return shapes, attributes


def many(count: int) -> Sequence[tuple[CudaKernel, list[list[int]], dict[str, Any]]]:
    """`count` cases of each kernel, always the same."""
    rng = random.Random(7)
    return [(kernel, *draw(kernel, rng)) for kernel, _ in itertools.product(ALL, range(count))]
