"""SparseAttention whose masks are sums: what is chosen is scattered once, and never compared.

scores -> TopK -> ScatterElements(1) -> Cast -> And(Greater) -> Or -> Where -> Softmax -> Where
=>
scores -> TopK(unsorted) -> ScatterElements(max, hidden) -> Add -> Softmax

A hidden key has so low a logit that its weight is exactly 0. The class token sees all keys.
"""

from __future__ import annotations

import onnx_ir as ir

from attnc.compiler.ops.base import NO_MIN
from attnc.passes.anchor import AnchorPass
from attnc.passes.graph import Refuse, attribute, const
from attnc.targets.web.expand import expand
from attnc.targets.web.narrow_forms import static

#: The logit of a key that is not chosen.
HIDDEN = -1e30


class SparseMasksAsSums(AnchorPass):
    """Every SparseAttention of constant weights in which no token is switched off."""

    name = "sparse_masks_as_sums"
    reason = "seven passes over a map of all pairs of tokens become two"
    anchors = frozenset({"attnc::SparseAttention"})

    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """The form with scattered values and scattered logits."""
        arrays = {name: const(node.inputs[place]) for place, name in enumerate(_NAMES, 1)}
        if any(array is None for array in arrays.values()):
            raise Refuse("its weights are not constants", node)
        if attribute(node, "score_threshold") > NO_MIN or attribute(node, "keep") < 1:
            raise Refuse("a token may see no key at all", node)
        factor = attribute(node, "coef_scale")
        constants = {
            name: (array * factor if name in ("wq", "bq") else array).astype("float32")
            for name, array in arrays.items()
            if array is not None
        }
        for name in ("wq", "wk"):
            constants[name] = constants[name].T.copy()
        expand(node, graph, _text(node, static(node.inputs[0]), static(node.inputs[6])), constants)
        return True


_NAMES = ("wq", "bq", "wk", "bk")


def _ints(out: str, *values: int) -> str:
    return f"  {out} = Constant <value_ints = {list(values)}> ()\n"


def _floats(out: str, value: float) -> str:
    return f"  {out} = Constant <value_float = {value!r}> ()\n"


def _text(node: ir.Node, sizes: tuple[int, ...], basis: tuple[int, ...]) -> str:
    batch, tokens, _ = sizes
    heads, dim, rank = attribute(node, "heads"), attribute(node, "dim"), basis[-2]
    count = min(attribute(node, "coef_topk"), rank)
    kept = min(attribute(node, "keep"), tokens)
    return (
        _ints("cut", batch, tokens, 3 * heads, dim) + "  parts = Reshape (qkv, cut)\n"
        "  order = Transpose <perm = [0, 2, 1, 3]> (parts)\n"
        "  q, k, v = Split <axis = 1, num_outputs = 3> (order)\n"
        "  mq = MatMul (q, wq)\n  lq = Add (mq, bq)\n"
        "  mk = MatMul (k, wk)\n  lk = Add (mk, bk)\n"
        "  lkt = Transpose <perm = [0, 1, 3, 2]> (lk)\n"
        "  low = MatMul (lkt, proj_n)\n"
        "  product = MatMul (lq, low)\n"
        "  dense = Softmax <axis = -1> (product)\n"
        + _floats("none", 0.0)
        + _floats("hidden", HIDDEN)
        + _coefficients(count, attribute(node, "coef_threshold"))
        + _ints("c_shape", batch, heads, tokens, rank)
        + "  c_zeros = Expand (none, c_shape)\n"
        "  coefficients = ScatterElements <axis = -1> (c_zeros, c_index, c_kept)\n"
        "  found = MatMul (coefficients, basis)\n"
        + _largest("s", "found", kept)
        + _ints("others_shape", 1, 1, tokens - 1, 1)
        + _ints("first_shape", 1, 1, 1, 1)
        + _ints("pairs", batch, heads, tokens, tokens)
        + "  others = Expand (hidden, others_shape)\n"
        "  first = Expand (none, first_shape)\n"
        "  column = Concat <axis = 2> (first, others)\n"
        "  base = Expand (column, pairs)\n"
        '  bias = ScatterElements <axis = -1, reduction = "max"> (base, s_index, s_seen)\n'
        "  kt = Transpose <perm = [0, 1, 3, 2]> (k)\n"
        + _floats("scale", attribute(node, "scale"))
        + "  qs = Mul (q, scale)\n"
        "  logits = MatMul (qs, kt)\n"
        "  limited = Add (logits, bias)\n"
        "  weights = Softmax <axis = -1> (limited)\n"
        "  out = MatMul (weights, v)\n"
        "  back = Transpose <perm = [0, 2, 1, 3]> (out)\n"
        + _ints("flat", 0, 0, -1)
        + "  y = Reshape (back, flat)"
    )


def _largest(out: str, x: str, count: int) -> str:
    """`{out}_value` and `{out}_index` of the largest, and as many zeros, `{out}_seen`."""
    return (
        _ints(f"{out}_count", count)
        + f"  {out}_value, {out}_index = TopK <axis = -1, sorted = 0> ({x}, {out}_count)\n"
        + f"  {out}_where = Shape ({out}_index)\n"
        + f"  {out}_seen = Expand (none, {out}_where)\n"
    )


def _coefficients(count: int, least: float) -> str:
    """`c_index` and `c_kept`: the largest coefficients, 0 where they are not above the least."""
    lines = _largest("c", "dense", count)
    if least <= 0:  # a softmax is never below
        return lines + "  c_kept = Identity (c_value)\n"
    return (
        lines
        + _floats("c_least", least)
        + "  c_above = Greater (c_value, c_least)\n"
        + "  c_kept = Where (c_above, c_value, none)\n"
    )
