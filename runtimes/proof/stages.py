"""A bundle against its source, stage by stage: each block's last value that both graphs have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.provenance import torch_module
from attnc.runtimes.proof.blocks import Stage, block_of
from attnc.runtimes.proof.float64 import compute64
from attnc.runtimes.proof.metrics import measure
from attnc.runtimes.proof.nodes import observe
from attnc.runtimes.proof.values import base_name, laid_like

Array = NDArray[Any]


def compare_stages(
    source: ir.Model, bundle: ir.Model, library: Path | None, feeds: Mapping[str, Array]
) -> list[Stage]:
    """One stage per block of the source whose last value the bundle's graph still has.

    `source` is the traced graph before any pass and runs in float64, `bundle` in ONNX Runtime with
    the kernels of `library`. Maps that the bundle holds channels last are turned.
    """
    ends = _ends(source, _names(bundle))
    wanted: dict[str, Array] = {}

    def watch(node: ir.Node, given: Any, made: Any) -> None:
        for value, array in zip(node.outputs, made, strict=False):
            if str(value.name) in ends:
                wanted[str(value.name)] = array

    compute64(source, feeds, watch)
    found = []
    for seen in observe(bundle, library, feeds, lambda n: base_name(n.outputs[0]) in ends):
        name = base_name(seen.node.outputs[0])
        laid = laid_like(seen.outputs[0], wanted[name])
        if laid is not None:
            found.append(Stage(ends[name], name, measure(laid, wanted[name])))
    return found


def _names(model: ir.Model) -> set[str]:
    return {base_name(node.outputs[0]) for node in model.graph}


def _ends(source: ir.Model, held: set[str]) -> dict[str, str]:
    """Value name to block: of each block the last one that the bundle has as well."""
    last: dict[str, str] = {}
    for node in source.graph:
        value, module = node.outputs[0], torch_module(node)
        if module and str(value.name) in held and value.dtype == ir.DataType.FLOAT:
            last[block_of(module)] = str(value.name)
    return {name: block for block, name in last.items()}
