"""A small bundle whose verification is led astray: by other programs, sources and manifests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import attnc
from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.checks import Check
from attnc.runtimes.coreml import judging as checking
from attnc.runtimes.coreml.verify import Source, verify_coreml

Bend = Callable[[Any], Any]


class Net(nn.Module):
    """A map of 6 channels, and 10 classes whose logits are far apart."""

    attnc_config: Any = None

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.stem(x).relu().mean((2, 3)))


def net() -> nn.Module:
    from attnc.model_defs.config import ModelConfig

    built = Net().eval()
    built.attnc_config = ModelConfig("toy", "toy", image_size=(12, 12), minimum_size=8)
    return built


def exported(folder: Path, precision: str = "fp16") -> Bundle:
    """The network's bundle."""
    return attnc.export(net(), output=folder / precision, target="coreml", precision=precision)


def gone(*_: Any) -> Any:
    raise UnsupportedError("it was sold")


def found(bundle: Bundle, twin: Any = gone, module: Any = net) -> dict[str, Check]:
    report = verify_coreml(bundle, Source(module, twin))
    return {check.name: check for check in report.checks}


def changed(bundle: Bundle, **fields: Any) -> Bundle:
    """The bundle with another manifest."""
    return Bundle(bundle.path, bundle.manifest.model_copy(update=fields))


def bent(patch: pytest.MonkeyPatch, bend: Bend) -> None:
    """From now on programs give something else."""
    right = checking.evaluate

    def evaluate(evaluator: Any, given: Any, watch: Any = None) -> Any:
        return bend(right(evaluator, given, watch))

    patch.setattr(checking, "evaluate", evaluate)


def towards(cosine: float) -> Bend:
    """Turns logits until they have this cosine to what they were."""

    def bend(logits: Any) -> Any:
        unit = logits / np.linalg.norm(logits)
        other = np.roll(unit, 1)
        other = other - (other * unit).sum() * unit
        turned = cosine * unit + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)
        return (turned * np.linalg.norm(logits)).astype(np.float32)

    return bend
