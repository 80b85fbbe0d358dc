"""Intermediate results that a page shows: which tokens are kept, which pixels a slot gathers.

They are found by operator, never by the name of a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN
from attnc.targets.web.static import Kind


@dataclass(frozen=True)
class View:
    """`stage` counts from 0 per kind; `grid` is (rows, columns) of the tokens, () if unknown.

    "kept-tokens": int64 [batch, keep], places among the `tokens` of the stage, class token left
    out; with `fused`, one more token follows the kept ones. "slots": logits of each token.
    """

    value: str
    kind: str
    stage: int
    tokens: int
    grid: tuple[int, ...]
    fused: bool = False


def views_of(model: ir.Model, kinds: dict[str, Kind]) -> list[View]:
    """The views of a lowered graph, in the order in which they are computed."""
    found: list[View] = []
    height, width = _picture(model)
    for node in model.graph:
        if node.domain != DOMAIN or node.op_type not in ("SelectTokens", "SlotCluster"):
            continue
        given, shown = node.inputs[0], node.outputs[1]
        assert given is not None
        tokens = kinds[str(given.name)].dims[1]
        if node.op_type == "SelectTokens":
            stage = sum(view.kind == "kept-tokens" for view in found)
            grid = grid_of(tokens - 1, height, width) if stage == 0 else ()
            fused = bool(node.attributes["fuse"].as_int())
            found.append(View(str(shown.name), "kept-tokens", stage, tokens - 1, grid, fused))
        else:
            stage = sum(view.kind == "slots" for view in found)
            grid = grid_of(tokens, height, width)
            found.append(View(str(shown.name), "slots", stage, tokens, grid))
    return found


def grid_of(tokens: int, height: int, width: int) -> tuple[int, ...]:
    """(rows, columns) of tokens over a picture of this shape; () if they do not fit one."""
    if height <= 0 or width <= 0 or tokens * height % width:
        return ()
    rows = isqrt(tokens * height // width)
    fits = rows and tokens % rows == 0 and rows * width == tokens // rows * height
    return (rows, tokens // rows) if fits else ()


def _picture(model: ir.Model) -> tuple[int, int]:
    shape = model.graph.inputs[0].shape
    sizes = [] if shape is None else [size for size in shape if isinstance(size, int)]
    return (sizes[-2], sizes[-1]) if len(sizes) >= 2 else (0, 0)
