"""WindowAttention as products: pixels in tiles whose queries share the keys of their windows.

qkv -> per place of the window: Gather, Gather -> Mul -> ReduceSum -> Softmax -> Mul -> ReduceSum
=>
qkv -> Gather [tiles,queries,C] x Gather [tiles,keys,C] -> Softmax (rest hidden) -> x v -> Gather

A window of 9 places costs 2.25 copies of the map in tiles of 4 x 4, one of 49 places 6.25. Rolling
the channels and the border of the map are in the indices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import Array, Refuse, attribute
from attnc.targets.web.expand import expand
from attnc.targets.web.narrow_forms import static
from attnc.targets.web.tiles import Tiles, tiles

#: Groups of channels that are rolled, each in its way.
GROUPS = 4
VARIANTS = ("", "Bare", "Pooled", "PooledBare")


class WindowsAsTiles(AnchorPass):
    """Every variant; where channels are rolled, their number must be a multiple of four."""

    name = "windows_as_tiles"
    reason = "products are the fastest thing that onnxruntime-web has"
    anchors = frozenset(f"attnc::WindowAttention{kind}" for kind in VARIANTS)

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Gathers, two products, a Gather back."""
        sizes = static(node.inputs[0])
        batch, height, width, channels = *sizes[:3], sizes[3] // 3
        shift = attribute(node, "shift")
        rolls = bool(shift % height or shift % width)
        if rolls and channels % GROUPS:
            raise Refuse(f"{channels} channels are not rolled in equal groups", node)
        window = attribute(node, "kernel_shape"), attribute(node, "dilations")
        cut = tiles(height, width, *window, channels)
        constants = _constants(cut, (batch, height, width), shift if rolls else None)
        grid = attribute(node, "grid")
        if grid is not None:
            constants |= {
                "down": _averages(grid[0], height),
                "across": _averages(grid[1], width)[None],
            }
        text = _text(node, (batch, height, width, channels), cut, GROUPS if rolls else 1)
        expand(node, graph, text, constants)
        return True


def _constants(cut: Tiles, sizes: Sequence[int], shift: int | None) -> dict[str, Array]:
    batch, height, width = sizes
    inside = cut.inside(height, width)[:, None]
    queries = _pixels(cut.queries, height, width)
    images = np.arange(batch)[:, None, None] * height * width
    found: dict[str, Array] = {
        "places_q": ((images + queries) * 3).reshape(-1),
        "inside": inside,
        "bias": cut.bias,
        "places_back": (np.arange(batch)[:, None] * queries.size + cut.back(height, width)).reshape(
            -1
        ),
    }
    for name, part in (("places_k", 1), ("places_v", 2)):
        if shift is None:
            places = (images + _pixels(cut.keys, height, width)) * 3 + part
        else:
            rolled = [_pixels(_rolled(cut.keys, way, shift), height, width) for way in range(4)]
            groups = np.stack(rolled, axis=-1)  # [T,keys,4]
            places = ((images[..., None] + groups) * 3 + part) * GROUPS + np.arange(GROUPS)
        found[name] = places.reshape(-1)
    return {
        name: array.astype(np.int32) if name.startswith("places") else array
        for name, array in found.items()
    }


def _rolled(places: Array, way: int, shift: int) -> Array:
    """Where a group of channels comes from: rolled up, down, left or right."""
    step = ((shift, 0), (-shift, 0), (0, shift), (0, -shift))[way]
    return np.asarray(places + np.array(step))


def _pixels(places: Array, height: int, width: int) -> Array:
    """Numbers of pixels; places outside are on the map as well, and hidden otherwise."""
    return np.asarray((places[..., 0] % height) * width + places[..., 1] % width)


def _averages(cells: int, size: int) -> Array:
    """[cells,size]: the weights of an adaptive average along one axis."""
    weights = np.zeros((cells, size), np.float32)
    for cell in range(cells):
        begin, end = cell * size // cells, -(-(cell + 1) * size // cells)
        weights[cell, begin:end] = 1 / (end - begin)
    return weights


def _ints(out: str, *values: int) -> str:
    return f"  {out} = Constant <value_ints = {list(values)}> ()\n"


def _text(node: ir.Node, sizes: tuple[int, int, int, int], cut: Tiles, groups: int) -> str:
    batch, height, width, channels = sizes
    count, queries = cut.queries.shape[:2]
    lines = _ints("as_rows", -1, channels) + "  rows = Reshape (qkv, as_rows)\n"
    lines += _ints("as_parts", -1, channels // groups) + "  parts = Reshape (qkv, as_parts)\n"
    for name, source, places in (
        ("q", "rows", queries),
        ("k", "parts", cut.keys.shape[1]),
        ("v", "parts", cut.keys.shape[1]),
    ):
        lines += (
            f"  {name}_rows = Gather <axis = 0> ({source}, places_{name})\n"
            + _ints(f"{name}_size", batch, count, places, channels)
            + f"  {name} = Reshape ({name}_rows, {name}_size)\n"
        )
    lines += (
        f"  scale = Constant <value_float = {attribute(node, 'scale')!r}> ()\n"
        "  kt = Transpose <perm = [0, 1, 3, 2]> (k)\n"
        "  product = MatMul (q, kt)\n"
        "  factor = Mul (inside, scale)\n"
        "  on_map = Mul (product, factor)\n"
        "  near = Add (on_map, bias)\n"
    )
    grid = attribute(node, "grid")
    if grid is None:
        lines += "  near_weights = Softmax <axis = -1> (near)\n" + _near_sum("out")
    else:
        lines += _with_far(sizes, grid, cut)
    last = "y" if len(node.inputs) == 1 else "map"
    lines += (
        "  out_rows = Reshape (out, as_rows)\n"
        "  placed = Gather <axis = 0> (out_rows, places_back)\n"
        + _ints("as_map", batch, height, width, channels)
        + f"  {last} = Reshape (placed, as_map)"
    )
    return lines if last == "y" else lines + "\n  y = Add (x, map)"


def _with_far(sizes: tuple[int, int, int, int], grid: Sequence[int], cut: Tiles) -> str:
    """`out` of window and grid together: one softmax, two products."""
    count, queries = cut.queries.shape[:2]
    batch, cells = sizes[0], grid[0] * grid[1]
    return (
        _far_logits(sizes, grid, count * queries)
        + _ints("by_tile", batch, count, queries, cells)
        + "  far = Reshape (far_scaled, by_tile)\n"
        "  logits = Concat <axis = 3> (near, far)\n"
        "  weights = Softmax <axis = -1> (logits)\n"
        + _ints("cuts", cut.keys.shape[1], cells)
        + "  near_weights, far_weights = Split <axis = 3> (weights, cuts)\n"
        + _near_sum("near_out")
        + _ints("flat_w", batch, count * queries, cells)
        + "  far_flat = Reshape (far_weights, flat_w)\n"
        "  far_rows = MatMul (far_flat, far_v)\n"
        "  far_out = Reshape (far_rows, q_size)\n"
        "  out = Add (near_out, far_out)\n"
    )


def _near_sum(out: str) -> str:
    return f"  on = Mul (near_weights, inside)\n  {out} = MatMul (on, v)\n"


def _far_logits(sizes: tuple[int, int, int, int], grid: Sequence[int], queries: int) -> str:
    """`far_scaled` [B,T*queries,cells] and `far_v` [B,cells,C], of averages over cells."""
    batch, height, width, channels = sizes
    rows, columns = grid
    return (
        _ints("by_rows", batch, height, width * 3 * channels)
        + "  map_rows = Reshape (qkv, by_rows)\n"
        "  averaged = MatMul (down, map_rows)\n"
        + _ints("by_columns", batch * rows, width, 3 * channels)
        + "  map_columns = Reshape (averaged, by_columns)\n"
        "  cells = MatMul (across, map_columns)\n"
        + _ints("by_cells", batch, rows * columns, 3 * channels)
        + "  all_cells = Reshape (cells, by_cells)\n"
        "  far_q, far_k, far_v = Split <axis = 2, num_outputs = 3> (all_cells)\n"
        "  far_kt = Transpose <perm = [0, 2, 1]> (far_k)\n"
        + _ints("q_flat_s", batch, queries, channels)
        + "  q_flat = Reshape (q, q_flat_s)\n"
        "  far_product = MatMul (q_flat, far_kt)\n"
        "  far_scaled = Mul (far_product, scale)\n"
    )
