"""Deterministic weights and inputs, so that golden outputs need no shipped weights.

`fill_state_dict({key: shape})` returns `{key: np.ndarray}`.  Every array depends only on its own
key name and shape (never on the order of the dict or on other keys): draws come from
`numpy.random.Generator(numpy.random.Philox(key=zlib.crc32(key.encode())))`, one
`standard_normal(shape)` in float64, scaled by the first matching rule below and rounded to float32
(`num_batches_tracked` is int64 0).  The rules were chosen so that activations stay O(1..10) through
the depth of the five families and attention maps are far from uniform.

`make_input(shape, seed)` gives a float32 standard-normal array (a normalised image).
"""

from __future__ import annotations

import re
import zlib

import numpy as np

__all__ = ["fill_array", "fill_state_dict", "make_input"]


def _normal(key: str, shape) -> np.ndarray:
    gen = np.random.Generator(np.random.Philox(key=zlib.crc32(key.encode("utf-8"))))
    return gen.standard_normal(tuple(shape))


# BatchNorm that ends a residual branch (SHViT: Residual(Conv2d_BN), FFN.pw2, SHSA.proj): keep
# the branch small, or the residual stream doubles its variance at each of ~40 additions.
_BRANCH_BN = re.compile(r"(\.m\.bn|\.pw2\.bn|\.proj\.1\.bn)\.weight$")
# last matrix of a GLMix residual branch (its stream is normalised per branch, then in the head)
_BRANCH_W = re.compile(r"(\.mlp\.[23]|\.feature_conv\.2|\.out_proj)\.weight$")


def fill_array(key: str, shape) -> np.ndarray:  # noqa: PLR0912
    shape = tuple(int(s) for s in shape)
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    n = _normal(key, shape)
    if last == "running_mean":
        a = 0.1 * n
    elif last == "running_var":
        a = 1.0 + 0.2 * np.abs(n)
    elif last == "slot_scale":  # GLMix: 0-dim; logits are slot_scale * cosine similarity
        a = 32.0 * (1.0 + 0.1 * n)
    elif last == "gamma":  # LayerScale
        a = 0.5 * (1.0 + 0.1 * n)
    elif last in ("proj_n",):  # Sparsifiner [N, k]: contracted over N
        a = n * (1.2 / np.sqrt(shape[0]))
    elif last in ("proj_back_n",):  # Sparsifiner [N, k]: |.| thresholded at 0.02
        a = 0.05 * n
    elif last in ("cls_token", "dist_token", "init_slots"):
        a = 0.5 * n
    elif last == "pos_embed":
        a = 0.3 * n
    elif key.endswith("pos_conv.weight"):  # GLMix: un-normalised residual x + pos_conv(x)
        a = n * (0.3 / np.sqrt(np.prod(shape[1:])))
    elif _BRANCH_BN.search(key):
        a = 0.3 * (1.0 + 0.1 * n)
    elif _BRANCH_W.search(key):
        a = n * (0.3 / np.sqrt(np.prod(shape[1:])))
    elif key.endswith("qkv.bn.weight"):  # SHViT SHSA: BatchNorm after the q/k/v 1x1 conv
        a = 1.6 * (1.0 + 0.1 * n)
    elif last.endswith("weight") and len(shape) >= 2:
        gain = 1.0
        if key.endswith((".c.weight", "qkv.weight", "qkv_conv.weight", "in_proj_weight")):
            gain = 1.4  # SHViT conv before ReLU; sharper attention elsewhere
        a = n * (gain / np.sqrt(np.prod(shape[1:])))
    elif last.endswith("weight"):  # norm weights
        a = 1.0 + 0.1 * n
    elif last.endswith("bias"):
        a = 0.1 * n
    else:
        a = 0.1 * n
    return np.asarray(a, dtype=np.float32).reshape(shape)


def fill_state_dict(named_shapes) -> dict[str, np.ndarray]:
    return {k: fill_array(k, s) for k, s in named_shapes.items()}


def make_input(shape, seed: int = 0) -> np.ndarray:
    gen = np.random.Generator(np.random.Philox(key=0x1A9E0000 + int(seed)))
    return gen.standard_normal(tuple(shape)).astype(np.float32)
