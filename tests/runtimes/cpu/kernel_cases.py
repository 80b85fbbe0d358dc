"""Random cases of every lowered operator: packed inputs, attributes, float64 result."""

from __future__ import annotations

from dataclasses import dataclass, field

import kernel_reference as ref
import numpy as np
from onnx import TensorProto, helper, numpy_helper

#: No result counts as smaller; a clamp may leave nothing but zeros.
LEAST_SCALE = 0.1
FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclass
class Case:
    """One invocation of an operator."""

    op: str
    x: np.ndarray
    weights: list[np.ndarray]
    attributes: dict
    expected: np.ndarray
    dynamic: list[np.ndarray] = field(default_factory=list)  # inputs that are no initializers
    slack: float = 0.0  # relative error that one rounding of what it comes from may make

    def model(self, *, symbolic: bool = True, constant: bool = True) -> bytes:
        """A one-node ONNX model of the case."""
        names = [f"w{i}" for i in range(len(self.weights))]
        extra = [f"r{i}" for i in range(len(self.dynamic))]
        node = helper.make_node(
            self.op, ["x", *names, *extra], ["y"], name="node", domain="attnc", **self.attributes
        )
        dims = [f"d{i}" for i in range(self.x.ndim)] if symbolic else list(self.x.shape)
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)]
        for name, value in zip(extra, self.dynamic, strict=True):
            inputs.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * value.ndim)
            )
        tensors = []
        for name, value in zip(names, self.weights, strict=True):
            if constant:
                tensors.append(numpy_helper.from_array(value, name))
            else:
                kind = helper.np_dtype_to_tensor_dtype(value.dtype)
                inputs.append(helper.make_tensor_value_info(name, kind, value.shape))
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph([node], "case", inputs, [y], tensors)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("attnc", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()

    def error(self, y: np.ndarray) -> float:
        """Largest difference to the expected result, relative to its largest value.

        Results are of order one; a lone number that cancels to nearly nothing keeps the rounding
        of what it came from.
        """
        scale = max(float(np.abs(self.expected).max()), LEAST_SCALE)
        return float(np.abs(y - self.expected).max() / scale)

    def feeds(self, *, constant: bool = True) -> dict[str, np.ndarray]:
        """The model's inputs."""
        feeds = {"x": self.x} | {f"r{i}": r for i, r in enumerate(self.dynamic)}
        return feeds if constant else feeds | {f"w{i}": w for i, w in enumerate(self.weights)}


def _matrix(rng, k, n):
    return (rng.standard_normal((k, n)) / np.sqrt(k)).astype(np.float32)


def _vector(rng, n):
    return rng.standard_normal(n).astype(np.float32)


def _clamps(clamp):
    lo, hi = clamp or (-FLOAT_MAX, FLOAT_MAX)
    return {"min": float(lo), "max": float(hi)}, lo, hi


def _window(kernel, strides, pads, dilations=None):
    attrs = {"kernel_shape": list(kernel), "strides": list(strides), "pads": list(pads)}
    return attrs if dilations is None else attrs | {"dilations": list(dilations)}


def dense(
    rng,
    op,
    b,
    h,
    w,
    c,
    n,
    kernel=(3, 3),
    strides=(1, 1),
    pads=(1, 1, 1, 1),
    dilations=(1, 1),
    clamp=None,
) -> Case:
    """ConvNhwc, ConvAddNhwc, StemConvNhwc, or with GELU in place of the clamp."""
    attrs, lo, hi = _clamps(clamp)
    if "Gelu" in op:
        attrs = {}
    x = _vector(rng, (b, h, w, c))
    weight, bias = _matrix(rng, kernel[0] * kernel[1] * c, n), _vector(rng, n)
    args = (x, weight, bias, kernel, strides, pads, dilations)
    dynamic = []
    expected = ref.conv(*args, lo, hi)
    if op == "ConvAddNhwc":
        dynamic = [_vector(rng, expected.shape)]
        expected = ref.conv(*args, lo, hi, dynamic[0])
    if "Gelu" in op:
        expected = ref.gelu(expected)
    attrs |= _window(kernel, strides, pads, dilations) | {"out_channels": n}
    if op.startswith("StemConv"):
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return Case(op, x, [ref.pack(weight), ref.pad16(bias)], attrs, expected, dynamic)


def depthwise(
    rng, b, h, w, c, kernel=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), clamp=None
) -> Case:
    """DepthwiseNhwc."""
    attrs, lo, hi = _clamps(clamp)
    x, weight = _vector(rng, (b, h, w, c)), _vector(rng, (kernel[0] * kernel[1], c))
    bias = _vector(rng, c)
    expected = ref.depthwise(x, weight, bias, kernel, strides, pads, dilations, lo, hi)
    attrs |= _window(kernel, strides, pads, dilations) | {"channels": c}
    return Case("DepthwiseNhwc", x, [ref.pad16(weight), ref.pad16(bias)], attrs, expected)


def feed_forward(rng, b, h, w, c, hidden, clamp=(0, FLOAT_MAX)) -> Case:
    """FeedForwardNhwc."""
    attrs, lo, hi = _clamps(clamp)
    x = _vector(rng, (b, h, w, c))
    w1, b1 = _matrix(rng, c, hidden), _vector(rng, hidden)
    w2, b2 = _matrix(rng, hidden, c), _vector(rng, c)
    expected = ref.feed_forward(x, w1, b1, w2, b2, lo, hi)
    weights = [ref.pack(w1), ref.pad16(b1), ref.pack(w2), ref.pad16(b2)]
    return Case("FeedForwardNhwc", x, weights, attrs | {"channels": c, "hidden": hidden}, expected)


def attention(rng, b, h, w, c, dim_qk, dim_v, clamp=(0, FLOAT_MAX), spread=1.0) -> Case:
    """SingleHeadAttentionNhwc; `spread` scales the logits."""
    attrs, lo, hi = _clamps(clamp)
    x = _vector(rng, (b, h, w, c)) + np.float32(0.5)
    wqkv, bqkv = _matrix(rng, dim_v, 2 * dim_qk + dim_v), _vector(rng, 2 * dim_qk + dim_v)
    wqkv[:, : 2 * dim_qk] *= np.float32(spread)
    wproj, bproj = _matrix(rng, c, c), _vector(rng, c)
    expected = ref.attention(x, wqkv, bqkv, wproj, bproj, dim_qk, dim_v, 1e-5, lo, hi)
    attrs |= {"channels": c, "dim_qk": dim_qk, "dim_v": dim_v, "epsilon": 1e-5}
    weights = [ref.pack(wqkv), ref.pad16(bqkv), ref.pack(wproj), ref.pad16(bproj)]
    rounding = ref.attention_rounding(x, wqkv, bqkv, wproj, dim_qk, dim_v, 1e-5)
    slack = rounding / float(np.abs(expected).max())
    return Case("SingleHeadAttentionNhwc", x, weights, attrs, expected, slack=slack)


def bottleneck(
    rng,
    b,
    h,
    w,
    c,
    hidden,
    reduced,
    n,
    kernel=(3, 3),
    strides=(2, 2),
    pads=(1, 1, 1, 1),
    clamp=(0, FLOAT_MAX),
) -> Case:
    """InvertedBottleneckNhwc."""
    attrs, lo, hi = _clamps(clamp)
    x = _vector(rng, (b, h, w, c))
    w1, b1 = _matrix(rng, c, hidden), _vector(rng, hidden)
    wd, bd = _vector(rng, (kernel[0] * kernel[1], hidden)), _vector(rng, hidden)
    s1, c1 = _matrix(rng, hidden, reduced), _vector(rng, reduced)
    s2, c2 = _matrix(rng, reduced, hidden), _vector(rng, hidden)
    w3, b3 = _matrix(rng, hidden, n), _vector(rng, n)
    plain = (w1, b1, wd, bd, s1, c1, s2, c2, w3, b3)
    expected = ref.bottleneck(x, *plain, kernel, strides, pads, lo, hi)
    packed = [ref.pad16(p) if p.ndim == 1 or p is wd else ref.pack(p) for p in plain]
    attrs |= _window(kernel, strides, pads)
    attrs |= {"hidden": hidden, "reduced": reduced, "out_channels": n}
    return Case("InvertedBottleneckNhwc", x, packed, attrs, expected)


def pool_linear(rng, b, h, w, c, n) -> Case:
    """PoolLinearNhwc."""
    x, weight, bias = _vector(rng, (b, h, w, c)), _matrix(rng, c, n), _vector(rng, n)
    expected = ref.pool_linear(x, weight, bias)
    weights = [ref.pack(weight), ref.pad16(bias)]
    return Case("PoolLinearNhwc", x, weights, {"out_features": n}, expected)


def all_cases(rng) -> dict[str, Case]:
    """The hard shapes: odd channels, odd maps, one pixel, one channel, wide and tall, batches."""
    relu = (0, FLOAT_MAX)
    cases = {
        "stem-224": dense(rng, "StemConvNhwc", 1, 20, 22, 3, 28, strides=(2, 2), clamp=relu),
        "stem-odd": dense(rng, "StemConvNhwc", 2, 7, 9, 3, 16, strides=(2, 2)),
        "stem-c1-5x3": dense(rng, "StemConvNhwc", 1, 9, 8, 1, 17, (5, 3), (3, 2), (2, 1, 2, 1)),
        "stem-dilated": dense(
            rng, "StemConvNhwc", 1, 9, 8, 2, 5, dilations=(2, 3), pads=(2, 3, 2, 3)
        ),
        "conv-s2": dense(rng, "ConvNhwc", 2, 16, 16, 28, 56, strides=(2, 2), clamp=relu),
        "conv-s1-75": dense(rng, "ConvNhwc", 1, 7, 7, 75, 66, clamp=(0, 6)),
        "conv-c1-1px": dense(rng, "ConvNhwc", 1, 1, 1, 1, 1),
        "conv-row": dense(rng, "ConvNhwc", 3, 1, 14, 3, 48),
        "conv-col": dense(rng, "ConvNhwc", 1, 14, 1, 5, 33, strides=(2, 2)),
        "conv-asym": dense(rng, "ConvNhwc", 1, 8, 6, 4, 20, (2, 4), (1, 2), (0, 3, 1, 0)),
        "conv-dilated": dense(
            rng, "ConvNhwc", 1, 14, 7, 6, 16, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)
        ),
        "conv-wide-pad": dense(rng, "ConvNhwc", 1, 3, 3, 4, 16, (3, 3), (1, 1), (4, 4, 4, 4)),
        "conv-deep": dense(rng, "ConvNhwc", 1, 32, 32, 112, 224, strides=(2, 2)),
        "conv-1x1": dense(rng, "ConvNhwc", 1, 7, 7, 66, 75, (1, 1), (1, 1), (0, 0, 0, 0)),
        "conv-1x1-s2": dense(rng, "ConvNhwc", 2, 7, 5, 28, 17, (1, 1), (2, 2), (0, 0, 0, 0)),
        "conv-1x1-large": dense(rng, "ConvNhwc", 2, 20, 20, 48, 65, (1, 1), (1, 1), (0, 0, 0, 0)),
        "conv-1x1-padded": dense(rng, "ConvNhwc", 1, 3, 4, 5, 17, (1, 1), (1, 1), (1, 0, 0, 2)),
        "gelu-1x1": dense(rng, "ConvGeluNhwc", 2, 9, 7, 48, 75, (1, 1), (1, 1), (0, 0, 0, 0)),
        "gelu-3x3": dense(rng, "ConvGeluNhwc", 1, 8, 6, 20, 33, strides=(2, 2)),
        "stem-gelu": dense(rng, "StemConvGeluNhwc", 2, 18, 23, 3, 40, strides=(2, 2)),
        "stem-gelu-s1": dense(rng, "StemConvGeluNhwc", 1, 7, 5, 4, 17),
        "add-1x1": dense(rng, "ConvAddNhwc", 1, 7, 7, 66, 75, (1, 1), (1, 1), (0, 0, 0, 0)),
        "add-3x3": dense(rng, "ConvAddNhwc", 2, 5, 6, 17, 28, clamp=relu),
        "dw-s1": depthwise(rng, 2, 14, 14, 75),
        "dw-s1-224": depthwise(rng, 1, 16, 16, 224),
        "dw-s2": depthwise(rng, 1, 7, 7, 66, strides=(2, 2), clamp=(0, 6)),
        "dw-1px": depthwise(rng, 1, 1, 1, 1),
        "dw-2px": depthwise(rng, 1, 2, 3, 17),
        "dw-5x5-s1": depthwise(rng, 2, 14, 14, 66, (5, 5), (1, 1), (2, 2, 2, 2)),
        "dw-5x5-s1-thin": depthwise(rng, 1, 3, 2, 17, (5, 5), (1, 1), (2, 2, 2, 2), clamp=(0, 6)),
        "dw-5x5-s1-valid": depthwise(rng, 1, 9, 30, 16, (5, 5), (1, 1), (0, 0, 0, 0)),
        "dw-5x5-s1-asym": depthwise(rng, 1, 6, 13, 20, (5, 5), (1, 1), (4, 0, 1, 6)),
        "dw-3x3-s1-wide": depthwise(rng, 1, 31, 59, 70, pads=(0, 2, 1, 3)),
        "dw-5x5": depthwise(rng, 1, 9, 7, 28, (5, 5), (2, 2), (2, 2, 2, 2)),
        "dw-dilated": depthwise(rng, 1, 9, 9, 20, dilations=(2, 2), pads=(2, 2, 2, 2)),
        "dw-asym": depthwise(rng, 1, 6, 8, 48, strides=(1, 2), pads=(0, 1, 2, 0)),
        "ffn-16": feed_forward(rng, 1, 4, 4, 448, 896),
        "ffn-49": feed_forward(rng, 1, 7, 7, 75, 150),
        "ffn-1": feed_forward(rng, 1, 1, 1, 3, 5),
        "ffn-many": feed_forward(rng, 3, 14, 14, 66, 130, clamp=(0, 6)),
        "att-1": attention(rng, 1, 1, 1, 17, 16, 5),
        "att-5": attention(rng, 2, 5, 1, 66, 16, 48),
        "att-16": attention(rng, 1, 4, 4, 448, 16, 96),
        "att-16-b5": attention(rng, 5, 4, 4, 80, 16, 75),
        "att-49": attention(rng, 1, 7, 7, 308, 16, 66),
        "att-49-b4": attention(rng, 4, 7, 7, 75, 16, 75),
        "att-64": attention(rng, 2, 8, 8, 336, 16, 72),
        "att-300": attention(rng, 1, 15, 20, 40, 7, 33, clamp=None),
        "att-sharp": attention(rng, 1, 6, 8, 64, 16, 32, spread=30.0),
        "ib-s4": bottleneck(rng, 1, 16, 16, 224, 896, 224, 336),
        "ib-odd": bottleneck(rng, 2, 7, 7, 28, 75, 17, 66),
        "ib-tiny": bottleneck(rng, 1, 1, 1, 3, 5, 1, 2),
        "ib-s1": bottleneck(rng, 3, 5, 4, 17, 48, 8, 16, strides=(1, 1), clamp=(0, 6)),
        "pool": pool_linear(rng, 3, 4, 4, 448, 1000),
        "pool-odd": pool_linear(rng, 1, 7, 1, 75, 17),
        "pool-1": pool_linear(rng, 1, 1, 1, 1, 1),
    }
    return cases
