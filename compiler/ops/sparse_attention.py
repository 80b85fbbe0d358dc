"""SparseAttention: Sparsifiner's predicted keys and the attention over them (arXiv 2303.13755).

Each query but the class token's keeps few coefficients of a low-rank map, from these a score for
each key, and attends to the best scored keys only; the class token (row 0) attends to all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnc.compiler.ops.base import (
    NO_MIN,
    Array,
    Attributes,
    Choosing,
    Cost,
    Operator,
    Shape,
    float_bytes,
)
from attnc.compiler.ops.reference import softmax
from attnc.compiler.ops.sparse_attention_examples import clear_rows, examples, examples_active
from attnc.compiler.ops.text import ints

#: `coef_topk` coefficients above `coef_threshold` stay, `keep` scores above `score_threshold`: a
#: model that has only one of the two limits sets the other to the whole axis, or to NO_MIN.
ATTRIBUTES = {
    "heads": "int",
    "dim": "int",
    "coef_topk": "int",
    "coef_threshold": "float",
    "keep": "int",
    "score_threshold": "float",
    "scale": "float",
    "coef_scale": "float",
}
INPUTS = ("qkv", "wq", "bq", "wk", "bk", "proj_n", "basis")


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """[B, N, heads*dim]."""
    return (*shapes[0][:2], attributes["heads"] * attributes["dim"])


def cost(shapes: Sequence[Shape], attributes: Attributes) -> Cost:
    """The predictor with its sparse coefficients, and the attention over the kept keys."""
    batch, tokens, _ = shapes[0]
    rank, dim, heads = shapes[5][1], attributes["dim"], attributes["heads"]
    row = 2 * dim * rank + tokens * min(rank, attributes["coef_topk"])
    row += 2 * dim * min(tokens, attributes["keep"])
    total = 2 * batch * heads * tokens * (row + 2 * dim)
    return Cost(total, float_bytes(output_shape(shapes, attributes), *shapes))


def chooses(shapes: Sequence[Shape], attributes: Attributes) -> bool:
    """Whether any key is left out for its score."""
    return bool(attributes["keep"] < shapes[0][1] or attributes["score_threshold"] > NO_MIN)


def settled(inputs: Sequence[Array], attributes: Attributes) -> Array:
    """Which elements of the output belong to a query whose choices are no near-ties."""
    qkv, *predictor = inputs
    has_mask = len(inputs) > len(INPUTS)
    active = predictor.pop() if has_mask else np.ones(qkv.shape[:2])
    if not chooses([qkv.shape], attributes):
        return np.ones(output_shape([qkv.shape], attributes), bool)
    clear = clear_rows([qkv, *predictor], active, attributes)
    if attributes.get("prune_rows"):
        clear |= np.asarray(active)[:, None] == 0  # these see nothing
    clear[:, :, 0] = True  # the class token chooses nothing
    return np.asarray(clear.transpose(0, 2, 1).repeat(attributes["dim"], axis=2))


def largest(values: Array, count: int, threshold: float) -> Array:
    """Which of the last axis are among its `count` largest (of equals the first) and above."""
    order = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    chosen = np.zeros(values.shape, bool)
    np.put_along_axis(chosen, order, True, axis=-1)
    return np.asarray(chosen & (values > threshold))


def scores_of(
    q: Array, k: Array, active: Array, predictor: Sequence[Array], attributes: Attributes
) -> Array:
    """[B, heads, N, N]: how much each query is expected to need each key."""
    wq, bq, wk, bk, proj_n, basis = (np.asarray(p, np.float64) for p in predictor)
    low_q, low_k = (q @ wq.T + bq) * active, (k @ wk.T + bk) * active
    logits = low_q @ (low_k.swapaxes(2, 3) @ proj_n) * attributes["coef_scale"]
    coefficients = softmax(logits)
    chosen = largest(coefficients, attributes["coef_topk"], attributes["coef_threshold"])
    return np.asarray(np.where(chosen, coefficients, 0.0) @ basis)


def reference(qkv: Array, *inputs: Array, **attributes: float) -> Array:
    """Float64 SparseAttention."""
    return reference_active(qkv, *inputs, np.ones(qkv.shape[:2]), **attributes, prune_rows=0)


def reference_active(qkv: Array, *inputs: Array, **attributes: float) -> Array:
    """Float64 SparseAttentionActive."""
    heads, dim = int(attributes["heads"]), int(attributes["dim"])
    batch, tokens, _ = qkv.shape
    *predictor, alive = inputs
    active = np.asarray(alive, np.float64)[:, None, :, None]
    split = np.asarray(qkv, np.float64).reshape(batch, tokens, 3, heads, dim)
    q, k, v = split.transpose(2, 0, 3, 1, 4) * active[None]
    scores = scores_of(q, k, active, predictor, attributes)
    scores = np.where(active.swapaxes(2, 3) > 0, scores, NO_MIN)
    mask = largest(scores, int(attributes["keep"]), attributes["score_threshold"])
    if attributes["prune_rows"]:
        mask &= active > 0
    mask[:, :, 0] = True
    logits = np.where(mask, q @ k.swapaxes(2, 3) * attributes["scale"], NO_MIN)
    out = np.where(mask, softmax(logits), 0.0) @ v
    return np.asarray(out.transpose(0, 2, 1, 3).reshape(batch, tokens, heads * dim))


def _low(name: str, active: bool) -> str:
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


_HEAD = (
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
_PLAIN = "".join(f"  {name} = Squeeze ({name}5, zero)\n" for name in "qkv")
_MASKED = ints("axes", 1, 3) + "  act = Unsqueeze (active, axes)\n"
_MASKED += "".join(
    f"  {name}4 = Squeeze ({name}5, zero)\n  {name} = Mul ({name}4, act)\n" for name in "qkv"
)
_COEFFICIENTS = (
    "  lkt = Transpose <perm: ints = [0, 1, 3, 2]> (lk)\n"
    "  low = MatMul (lkt, proj_n)\n"
    "  product = MatMul (lq, low)\n"
    "  cscale = Constant <value_float: float = @coef_scale> ()\n"
    "  clogits = Mul (product, cscale)\n"
    "  dense = Softmax <axis: int = -1> (clogits)\n"
    + _count("ccount", "coef_topk", "proj_n", 1)
    + _largest("chosen", "dense", "ccount", "coef_threshold")
    + "  none = Constant <value_float: float = 0.0> ()\n"
    + "  coefficients = Where (chosen, dense, none)\n"
    + "  found = MatMul (coefficients, basis)\n"
    + f"  lowest = Constant <value_float: float = {NO_MIN}> ()\n"
)
_INACTIVE = (
    "  actt = Transpose <perm: ints = [0, 1, 3, 2]> (act)\n"
    "  seen = Cast <to: int = 9> (actt)\n"
    "  scores = Where (seen, found, lowest)\n"
)
_KEPT = _count("kcount", "keep", "proj_n", 0) + _largest(
    "kept", "scores", "kcount", "score_threshold"
)
_ROWS = (
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


def _attend(mask: str) -> str:
    before, after = _ATTEND.replace("{mask}", mask).split("  row = ")
    middle = (
        "  n_scalar = Squeeze (n, zero)\n  step = Constant <value_int: int = 1> ()\n"
        + ints("minus_column", -1, 1)
        + "  row = "
    )
    return before + middle + after


SPARSE_ATTENTION = Operator(
    name="SparseAttention",
    inputs=INPUTS,
    outputs=("y",),
    attributes=ATTRIBUTES,
    body=_HEAD
    + _PLAIN
    + _low("q", active=False)
    + _low("k", active=False)
    + _COEFFICIENTS
    + "  scores = Identity (found)\n"
    + _KEPT
    + _attend("kept"),
    reference=reference,
    output_shape=output_shape,
    examples=examples,
    cost=cost,
    doc="Sparsifiner's predictor and the attention over the predicted keys (packed q, k, v)",
    discontinuous=Choosing(chooses, settled),
)

SPARSE_ATTENTION_ACTIVE = Operator(
    name="SparseAttentionActive",
    inputs=(*INPUTS, "active"),
    outputs=("y",),
    attributes={**ATTRIBUTES, "prune_rows": "int"},
    body=_HEAD
    + _MASKED
    + _low("q", active=True)
    + _low("k", active=True)
    + _COEFFICIENTS
    + _INACTIVE
    + _KEPT
    + _ROWS
    + _attend("chosen_keys"),
    reference=reference_active,
    output_shape=output_shape,
    examples=examples_active,
    cost=cost,
    doc="SparseAttention where some tokens are pruned: `active` [B,N] is 1 or 0",
    discontinuous=Choosing(chooses, settled),
)
