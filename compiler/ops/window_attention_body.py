"""The body of WindowAttention in standard operators: windows by Gather, as the unfused exports do.

Sizes are read from the input, so that one body serves every map; a window of k places costs k
copies of the map, which is what the kernel saves.
"""

from __future__ import annotations

from attnc.compiler.ops import text

#: Sizes of qkv as 1-D tensors and scalars, the three maps, and the numbers of the window.
_SIZES = (
    "  sizes = Shape (qkv)\n"
    "  b, h, w, c3 = Split <axis: int = 0, num_outputs: int = 4> (sizes)\n"
    "  h0 = Squeeze (h)\n  w0 = Squeeze (w)\n"
    "  zero = Constant <value_int: int = 0> ()\n"
    "  one = Constant <value_int: int = 1> ()\n"
    "  ys = Range (zero, h0, one)\n  xs = Range (zero, w0, one)\n"
    "  q, k, v = Split <axis: int = 3, num_outputs: int = 3> (qkv)\n"
    "  factor = Constant <value_float: float = @scale> ()\n"
    "  qs = Mul (q, factor)\n"
    "  kernel = Constant <value_ints: ints = @kernel_shape> ()\n"
    "  kh, kw = Split <axis: int = 0, num_outputs: int = 2> (kernel)\n"
    "  kh0 = Squeeze (kh)\n  kw0 = Squeeze (kw)\n"
    "  step = Constant <value_ints: ints = @dilations> ()\n"
    "  dh, dw = Split <axis: int = 0, num_outputs: int = 2> (step)\n"
    + text.ints("two", 2)
    + text.ints("three", 3)
    + text.ints("four", 4)
    + text.ints("null", 0)
    + text.ints("minus", -1)
    + text.ints("second", 1)
)

#: `quarters`: the sizes of four groups of channels, the first ones larger; where each pixel comes
#: from when a group is rolled.
_ROLLS = (
    "  c = Div (c3, three)\n"
    "  each = Div (c, four)\n"
    "  over = Mod (c, four)\n" + text.ints("order", 0, 1, 2, 3) + "  larger = Less (order, over)\n"
    "  extra = Cast <to: int = 7> (larger)\n"
    "  quarters = Add (each, extra)\n"
    "  shift_by = Constant <value_int: int = @shift> ()\n"
    "  y_on = Add (ys, shift_by)\n  up = Mod (y_on, h)\n"
    "  y_back = Sub (ys, shift_by)\n  down = Mod (y_back, h)\n"
    "  x_on = Add (xs, shift_by)\n  left = Mod (x_on, w)\n"
    "  x_back = Sub (xs, shift_by)\n  right = Mod (x_back, w)\n"
)

#: `pads` of a channels-last map, and for each place of the window the padded rows and columns.
_WINDOWS = (
    "  reach = Sub (kernel, second)\n"
    "  span = Mul (reach, step)\n"
    "  half = Div (span, two)\n"
    "  pads = Concat <axis: int = 0> (null, half, null, null, half, null)\n"
    "  ti = Range (zero, kh0, one)\n  tih = Mul (ti, dh)\n  ti2 = Unsqueeze (tih, second)\n"
    "  tj = Range (zero, kw0, one)\n  tjw = Mul (tj, dw)\n  tj2 = Unsqueeze (tjw, second)\n"
    "  rows = Add (ti2, ys)\n  columns = Add (tj2, xs)\n"
)


def _rolled(out: str, x: str) -> str:
    groups = [f"{out}_g{i}" for i in range(4)]
    lines = f"  {', '.join(groups)} = Split <axis: int = 3> ({x}, quarters)\n"
    ways = (("up", 1), ("down", 1), ("left", 2), ("right", 2))
    for group, (index, axis) in zip(groups, ways, strict=True):
        lines += f"  {group}r = Gather <axis: int = {axis}> ({group}, {index})\n"
    parts = ", ".join(f"{group}r" for group in groups)
    return lines + f"  {out} = Concat <axis: int = 3> ({parts})\n"


def _seen(out: str, x: str) -> str:
    """[B,kh,H,kw,W,C]."""
    return (
        _rolled(f"{out}_turned", x)
        + f"  {out}_padded = Pad ({out}_turned, pads)\n"
        + f"  {out}_rows = Gather <axis: int = 1> ({out}_padded, rows)\n"
        + f"  {out} = Gather <axis: int = 3> ({out}_rows, columns)\n"
    )


def _averages(out: str, size: str, places: str, cells: str) -> str:
    """[cells, size]: the weights of an adaptive average along one axis."""
    return (
        f"  {out}_n = Squeeze ({cells})\n"
        f"  {out}_i = Range (zero, {out}_n, one)\n"
        f"  {out}_from = Mul ({out}_i, {size})\n"
        f"  {out}_low = Div ({out}_from, {cells})\n"
        f"  {out}_to = Add ({out}_from, {size})\n"
        f"  {out}_top = Add ({out}_to, {cells})\n"
        f"  {out}_last = Sub ({out}_top, second)\n"
        f"  {out}_high = Div ({out}_last, {cells})\n"
        f"  {out}_low2 = Unsqueeze ({out}_low, second)\n"
        f"  {out}_high2 = Unsqueeze ({out}_high, second)\n"
        f"  {out}_after = GreaterOrEqual ({places}, {out}_low2)\n"
        f"  {out}_before = Less ({places}, {out}_high2)\n"
        f"  {out}_in = And ({out}_after, {out}_before)\n"
        f"  {out}_ones = Cast <to: int = 1> ({out}_in)\n"
        f"  {out}_count = ReduceSum <keepdims: int = 1> ({out}_ones, second)\n"
        f"  {out} = Div ({out}_ones, {out}_count)\n"
    )


def _pooled(out: str, x: str) -> str:
    """[B,cells,C]."""
    return (
        f"  {out}_flat = Reshape ({x}, by_rows)\n"
        f"  {out}_down = MatMul (down_weights, {out}_flat)\n"
        f"  {out}_map = Reshape ({out}_down, by_columns)\n"
        f"  {out}_across = MatMul (across_weights, {out}_map)\n"
        f"  {out} = Reshape ({out}_across, by_cells)\n"
    )


_POOLS = (
    "  grid = Constant <value_ints: ints = @grid> ()\n"
    "  gh, gw = Split <axis: int = 0, num_outputs: int = 2> (grid)\n"
    + _averages("down_weights", "h", "ys", "gh")
    + _averages("across_weights", "w", "xs", "gw")
    + "  by_rows = Concat <axis: int = 0> (b, h, minus)\n"
    "  by_columns = Concat <axis: int = 0> (b, gh, w, c)\n"
    "  by_cells = Concat <axis: int = 0> (b, minus, c)\n"
    "  by_pixels = Concat <axis: int = 0> (b, minus, c)\n"
    "  to_map = Concat <axis: int = 0> (b, h, w, minus)\n"
    + _pooled("far_keys", "k")
    + _pooled("far_values", "v")
    + "  far_turned = Transpose <perm: ints = [0, 2, 1]> (far_keys)\n"
    "  q_flat = Reshape (qs, by_pixels)\n"
    "  far_product = MatMul (q_flat, far_turned)\n"
    "  far_logits = Reshape (far_product, to_map)\n"
    "  logits = Concat <axis: int = 3> (near_logits, far_logits)\n"
)

_NEAR = (
    _seen("keys", "k")
    + text.ints("around", 1, 3)
    + text.ints("last", 5)
    + "  q6 = Unsqueeze (qs, around)\n"
    "  products = Mul (q6, keys)\n"
    "  sums = ReduceSum <keepdims: int = 0> (products, last)\n"
    "  by_pixel = Transpose <perm: ints = [0, 2, 4, 1, 3]> (sums)\n"
    + text.ints("joined", 0, 0, 0, -1)
    + "  near_logits = Reshape (by_pixel, joined)\n"
)

_SUM = (
    "  window = Concat <axis: int = 0> (b, h, w, kh, kw)\n"
    "  weights5 = Reshape (near, window)\n"
    "  placed = Transpose <perm: ints = [0, 3, 1, 4, 2]> (weights5)\n"
    "  weights6 = Unsqueeze (placed, last)\n"
    + _seen("values", "v")
    + "  weighted = Mul (weights6, values)\n"
    "  near_sum = ReduceSum <keepdims: int = 0> (weighted, around)\n"
)

_FAR_SUM = (
    "  places = Mul (kh, kw)\n"
    + text.first("near", "weights", "places", 3)
    + text.rest("far", "weights", "places", 3)
    + "  by_weights = Concat <axis: int = 0> (b, minus, far_cells)\n"
    "  far_flat = Reshape (far, by_weights)\n"
    "  far_mixed = MatMul (far_flat, far_values)\n"
    "  far_map = Reshape (far_mixed, to_map)\n"
)


def body(*, pool: bool, residual: bool) -> str:
    """The text between the braces of the function."""
    lines = _SIZES + _ROLLS + _WINDOWS + _NEAR
    if pool:
        lines += _POOLS + "  weights = Softmax <axis: int = -1> (logits)\n"
        lines += "  far_cells = Mul (gh, gw)\n" + _FAR_SUM + _SUM
        lines += "  out = Add (near_sum, far_map)\n"
    else:
        lines += "  weights = Softmax <axis: int = -1> (near_logits)\n"
        lines += "  near = Identity (weights)\n" + _SUM + "  out = Identity (near_sum)\n"
    return lines + ("  y = Add (x, out)" if residual else "  y = Identity (out)")
