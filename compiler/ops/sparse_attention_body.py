"""Text of the bodies of SparseAttention and of its two halves: ONNX functions cannot branch."""

from __future__ import annotations

from attnc.compiler.ops.base import NO_MIN
from attnc.compiler.ops.text import ints


def low(name: str, active: bool) -> str:
    """`l{name}` [B,H,N,c]: the query or key of the predictor."""
    text = (
        f"  w{name}t = Transpose <perm: ints = [1, 0]> (w{name})\n"
        f"  m{name} = MatMul ({name}, w{name}t)\n"
    )
    if not active:
        return text + f"  l{name} = Add (m{name}, b{name})\n"
    return text + f"  a{name} = Add (m{name}, b{name})\n  l{name} = Mul (a{name}, act)\n"


def _largest(out: str, x: str, count: str, threshold: str) -> str:
    """`out`, bool: which of the last axis of `x` are its largest, and above the threshold."""
    return (
        f"  {out}_value, {out}_index = TopK <axis: int = -1> ({x}, {count})\n"
        f"  {out}_where = Shape ({out}_index)\n"
        f"  {out}_one = Constant <value_float: float = 1.0> ()\n"
        f"  {out}_ones = Expand ({out}_one, {out}_where)\n"
        f"  {out}_shape = Shape ({x})\n"
        f"  {out}_zeros = ConstantOfShape ({out}_shape)\n"
        f"  {out}_set = ScatterElements <axis: int = -1> ({out}_zeros, {out}_index, {out}_ones)\n"
        f"  {out}_in = Cast <to: int = 9> ({out}_set)\n"
        f"  {out}_least = Constant <value_float: float = @{threshold}> ()\n"
        f"  {out}_above = Greater ({x}, {out}_least)\n"
        f"  {out} = And ({out}_in, {out}_above)\n"
    )


def _count(out: str, attribute: str, data: str, axis: int) -> str:
    """The attribute as a 1-D tensor, at most the size of that axis."""
    return (
        f"  {out}_given = Constant <value_int: int = @{attribute}> ()\n"
        f"  {out}_flat = Reshape ({out}_given, one)\n"
        f"  {out}_most = Shape <start: int = {axis}, end: int = {axis + 1}> ({data})\n"
        f"  {out} = Min ({out}_flat, {out}_most)\n"
    )


HEAD = (
    ints("one", 1)
    + "  h_scalar = Constant <value_int: int = @heads> ()\n"
    + "  h = Reshape (h_scalar, one)\n"
    + "  d_scalar = Constant <value_int: int = @dim> ()\n"
    + "  d = Reshape (d_scalar, one)\n"
    + ints("zero", 0)
    + ints("three", 3)
    + "  split = Concat <axis: int = 0> (zero, zero, three, h, d)\n"
    + "  parts = Reshape (qkv, split)\n"
    + "  order = Transpose <perm: ints = [2, 0, 3, 1, 4]> (parts)\n"
    + ints("thirds", 1, 1, 1)
    + "  q5, k5, v5 = Split <axis: int = 0> (order, thirds)\n"
)
PLAIN = "".join(f"  {name} = Squeeze ({name}5, zero)\n" for name in "qkv")
MASKED = ints("axes", 1, 3) + "  act = Unsqueeze (active, axes)\n"
MASKED += "".join(
    f"  {name}4 = Squeeze ({name}5, zero)\n  {name} = Mul ({name}4, act)\n" for name in "qkv"
)


def summary(out: str) -> str:
    """`out` [B,H,c,r]: the keys `lk` through the low-rank map."""
    return f"  lkt = Transpose <perm: ints = [0, 1, 3, 2]> (lk)\n  {out} = MatMul (lkt, proj_n)\n"


def scores(data: str, rank_axis: int) -> str:
    """`found` [B,H,N,N] and `lowest`, from `lq` and `low`; `data` has the rank as that axis."""
    return (
        "  product = MatMul (lq, low)\n"
        "  cscale = Constant <value_float: float = @coef_scale> ()\n"
        "  clogits = Mul (product, cscale)\n"
        "  dense = Softmax <axis: int = -1> (clogits)\n"
        + _count("ccount", "coef_topk", data, rank_axis)
        + _largest("chosen", "dense", "ccount", "coef_threshold")
        + "  none = Constant <value_float: float = 0.0> ()\n"
        + "  coefficients = Where (chosen, dense, none)\n"
        + "  found = MatMul (coefficients, basis)\n"
        + f"  lowest = Constant <value_float: float = {NO_MIN}> ()\n"
    )


def kept(data: str, tokens_axis: int) -> str:
    """`kept` [B,H,N,N], from `scores`; `data` has the tokens as that axis."""
    return _count("kcount", "keep", data, tokens_axis) + _largest(
        "kept", "scores", "kcount", "score_threshold"
    )


INACTIVE = (
    "  actt = Transpose <perm: ints = [0, 1, 3, 2]> (act)\n"
    "  seen = Cast <to: int = 9> (actt)\n"
    "  scores = Where (seen, found, lowest)\n"
)
ROWS = (
    "  rows_given = Constant <value_int: int = @prune_rows> ()\n"
    "  rows_on = Cast <to: int = 9> (rows_given)\n"
    "  rows_off = Not (rows_on)\n"
    "  seeing = Cast <to: int = 9> (act)\n"
    "  seeing_rows = Or (seeing, rows_off)\n"
    "  chosen_keys = And (kept, seeing_rows)\n"
)
_ATTEND = (
    "  n = Shape <start: int = 1, end: int = 2> (qkv)\n"
    "  upto = Constant <value_int: int = 0> ()\n"
    "  row = Range (upto, n_scalar, step)\n"
    "  column = Reshape (row, minus_column)\n"
    "  first = Equal (column, upto)\n"
    "  mask = Or ({mask}, first)\n"
    "  kt = Transpose <perm: ints = [0, 1, 3, 2]> (k)\n"
    "  scale_value = Constant <value_float: float = @scale> ()\n"
    "  qs = Mul (q, scale_value)\n"
    "  logits = MatMul (qs, kt)\n"
    "  limited = Where (mask, logits, lowest)\n"
    "  soft = Softmax <axis: int = -1> (limited)\n"
    "  probabilities = Where (mask, soft, none)\n"
    "  out = MatMul (probabilities, v)\n"
    "  tokens = Transpose <perm: ints = [0, 2, 1, 3]> (out)\n"
    + ints("flat", 0, 0, -1)
    + "  y = Reshape (tokens, flat)"
)


def attend(mask: str) -> str:
    before, after = _ATTEND.replace("{mask}", mask).split("  row = ")
    middle = (
        "  n_scalar = Squeeze (n, zero)\n  step = Constant <value_int: int = 1> ()\n"
        + ints("minus_column", -1, 1)
        + "  row = "
    )
    return before + middle + after
