"""The digits as tensors, prepared by the very code that prepares pictures for a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from attnc.compiler.manifest import Preprocessing
from attnc.compiler.seeded_input import normalise
from attnc.model_defs.registry import ModelConfig
from attnc.runtimes.dataset import digits
from attnc.runtimes.preprocess import preprocess

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Pictures:
    """`values` [N, 3, H, W] float32, normalised; `labels` [N] int64; `paper` [3] is black."""

    values: Tensor
    labels: Tensor
    paper: Tensor


def rule_of(config: ModelConfig) -> Preprocessing:
    """What the bundle of such a model says about preparing pictures."""
    return Preprocessing.model_validate(
        {
            "image_size": config.image_size,
            "crop_fraction": config.crop_pct,
            "interpolation": config.interpolation,
            "mean": config.mean,
            "std": config.std,
        }
    )


def load_pictures(config: ModelConfig, part: Literal["training", "held-out"]) -> Pictures:
    """One part of the digits. Raises MissingRuntimeError without scikit-learn."""
    import torch

    samples, rule = digits(part).samples, rule_of(config)
    values = np.concatenate([preprocess(sample.open(), rule) for sample in samples])
    labels = np.array([sample.label for sample in samples], np.int64)
    paper = normalise(np.zeros((1, 3, 1, 1), np.uint8), rule).reshape(3)
    return Pictures(torch.from_numpy(values), torch.from_numpy(labels), torch.from_numpy(paper))


def shifted(values: Tensor, most: int, paper: Tensor, draw: Generator) -> Tensor:
    """Each picture moved by up to `most` pixels each way; `paper` [3] comes in from the sides."""
    import torch

    count, _, height, width = values.shape
    wide = paper[:, None, None].expand(count, 3, height + 2 * most, width + 2 * most).clone()
    wide[:, :, most : most + height, most : most + width] = values
    moves = torch.randint(0, 2 * most + 1, (count, 2), generator=draw).tolist()
    return torch.stack(
        [wide[i, :, y : y + height, x : x + width] for i, (y, x) in enumerate(moves)]
    )
