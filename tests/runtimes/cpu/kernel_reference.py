"""Float64 references of the lowered operators, from plain weights and by the definitions alone.

They share no code with the kernels or with the operators' own references, so that one mistake
cannot hide in both. Shapes are channels-last unless said otherwise.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def pack(w: Array) -> Array:
    """[K, N] to [ceil(N/16), K, 16] with zero columns."""
    k, n = w.shape
    panels = -(-n // 16)
    padded = np.zeros((k, panels * 16), np.float32)
    padded[:, :n] = w
    return np.ascontiguousarray(padded.reshape(k, panels, 16).transpose(1, 0, 2))


def pad16(b: Array) -> Array:
    """A bias or the last axis of a depthwise weight, zero-padded to a multiple of 16."""
    width = -(-b.shape[-1] // 16) * 16 - b.shape[-1]
    return np.pad(b, [(0, 0)] * (b.ndim - 1) + [(0, width)]).astype(np.float32)


def windows(x: Array, kernel, strides, pads, dilations) -> Array:
    """[B, OH, OW, kh, kw, C] of zero-padded x [B, H, W, C]."""
    top, left, bottom, right = pads
    x = np.pad(x.astype(np.float64), [(0, 0), (top, bottom), (left, right), (0, 0)])
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    oh, ow = [(x.shape[i + 1] - reach[i]) // strides[i] + 1 for i in (0, 1)]
    out = np.empty((x.shape[0], oh, ow, *kernel, x.shape[3]))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            y, z = i * dilations[0], j * dilations[1]
            rows = slice(y, y + strides[0] * (oh - 1) + 1, strides[0])
            cols = slice(z, z + strides[1] * (ow - 1) + 1, strides[1])
            out[:, :, :, i, j] = x[:, rows, cols]
    return out


def conv(x, w, b, kernel, strides, pads, dilations, lo, hi, residual=None) -> Array:
    """Dense convolution; w [kh*kw*C, N] in the order (kh, kw, c)."""
    cols = windows(x, kernel, strides, pads, dilations)
    y = cols.reshape(*cols.shape[:3], -1) @ w.astype(np.float64) + b
    return np.clip(y if residual is None else y + residual, lo, hi)


def gelu(x: Array) -> Array:
    """x times the normal distribution's probability of being below x."""
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def depthwise(x, w, b, kernel, strides, pads, dilations, lo, hi) -> Array:
    """Depthwise convolution; w [kh*kw, C]."""
    cols = windows(x, kernel, strides, pads, dilations)
    taps = w.astype(np.float64).reshape(*kernel, -1)
    return np.clip((cols * taps).sum((3, 4)) + b, lo, hi)


def feed_forward(x, w1, b1, w2, b2, lo, hi) -> Array:
    """x + clamp(x W1 + b1) W2 + b2."""
    x = x.astype(np.float64)
    return x + np.clip(x @ w1 + b1, lo, hi) @ w2 + b2


def _heads(x, wqkv, bqkv, dim_qk, dim_v, epsilon) -> tuple[Array, Array, Array, Array]:
    """q, k, v and the attention's weights of tokens x [B, N, C]."""
    x1 = x[..., :dim_v]
    mean, var = x1.mean((1, 2), keepdims=True), x1.var((1, 2), keepdims=True)
    qkv = (x1 - mean) / np.sqrt(var + epsilon) @ wqkv + bqkv
    q, k, v = np.split(qkv, [dim_qk, 2 * dim_qk], -1)
    s = q @ k.transpose(0, 2, 1)
    p = np.exp(s - s.max(-1, keepdims=True))
    return q, k, v, p / p.sum(-1, keepdims=True)


def attention_rounding(x, wqkv, bqkv, wproj, dim_qk, dim_v, epsilon) -> float:
    """Largest change of an output when each logit is off by one rounding of its products.

    To first order a weight p changes by p times what its logit does, and the output by what the
    values differ from it. That is nothing where one key has all the weight, and much where two
    keys of logits in the thousands share it.
    """
    tokens = x.astype(np.float64).reshape(x.shape[0], -1, x.shape[-1])
    q, k, v, p = _heads(tokens, wqkv, bqkv, dim_qk, dim_v, epsilon)
    off = np.abs(q) @ np.abs(k).transpose(0, 2, 1) * 2.0**-24
    apart = np.abs(v[:, None, :, :] - (p @ v)[:, :, None, :])
    return float(np.max(np.einsum("bij,bijd->bid", p * off, apart) @ np.abs(wproj[:dim_v])))


def attention(x, wqkv, bqkv, wproj, bproj, dim_qk, dim_v, epsilon, lo, hi) -> Array:
    """Single-head attention on the first dim_v channels, projection and residual."""
    b, h, w, c = x.shape
    x = x.astype(np.float64).reshape(b, h * w, c)
    _, _, v, p = _heads(x, wqkv, bqkv, dim_qk, dim_v, epsilon)
    o = p @ v
    cat = np.clip(np.concatenate([o, x[..., dim_v:]], -1), lo, hi)
    return (x + cat @ wproj + bproj).reshape(b, h, w, c)


def squeeze_excite(x, s1, c1, s2, c2) -> Array:
    """x * sigmoid(fc2(relu(fc1(mean)))), s1 [C, R], s2 [R, C]."""
    gate = np.maximum(x.mean((1, 2)) @ s1 + c1, 0) @ s2 + c2
    return x / (1 + np.exp(-gate))[:, None, None]


def bottleneck(x, w1, b1, wd, bd, s1, c1, s2, c2, w3, b3, kernel, strides, pads, lo, hi) -> Array:
    """Expansion, depthwise, squeeze-and-excite, projection."""
    y = np.clip(x.astype(np.float64) @ w1 + b1, lo, hi)
    y = depthwise(y, wd, bd, kernel, strides, pads, (1, 1), lo, hi)
    return squeeze_excite(y, s1, c1, s2, c2) @ w3 + b3


def pool_linear(x, w, b) -> Array:
    """Mean over pixels, then a product; w [C, N]."""
    return x.astype(np.float64).mean((1, 2)) @ w + b
