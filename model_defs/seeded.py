"""Seeded weights, so that every model can be built, exported and compared without a download.

They are for checking, not for training: biases and BatchNorm statistics are deliberately not
trivial, so that a rewrite that loses one of them shows. Drawn by NumPy's Philox from (seed, key)
alone: the same on every machine, in any order of keys, and torch's generators stay untouched.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

Gains = Iterable[tuple[str, float]]


def _gain(key: str, gains: Gains) -> float:
    return next((gain for pattern, gain in gains if re.search(pattern, key)), 1.0)


def seeded_tensor(key: str, like: Tensor, seed: int, gain: float = 1.0) -> Tensor:
    """Values for the entry `key` of a state dict, of the shape and dtype of `like`."""
    last = key.rsplit(".", 1)[-1]
    if not like.dtype.is_floating_point:
        return torch.zeros_like(like)
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(key.encode())]))
    shape = tuple(like.shape)
    draw = rng.standard_normal(shape)
    if last == "running_var":
        values = 1.0 + 0.2 * np.abs(draw)
    elif last == "gamma" or not shape:  # layer scales and lone factors: never near zero
        values = gain * (1.0 + 0.1 * draw)
    elif len(shape) >= 2:
        values = draw * (gain / np.sqrt(np.prod(shape[1:])))
    elif last == "weight":
        values = gain * (1.0 + 0.1 * draw)
    else:
        values = 0.1 * draw
    return torch.from_numpy(np.asarray(values, dtype=np.float32).reshape(shape)).to(like.dtype)


def seeded_state_dict(
    state: Mapping[str, Tensor], seed: int, gains: Gains = ()
) -> dict[str, Tensor]:
    """Values for a whole state dict; of `gains` (expression, factor) the first match counts."""
    gains = tuple(gains)
    return {k: seeded_tensor(k, v, seed, _gain(k, gains)) for k, v in state.items()}
