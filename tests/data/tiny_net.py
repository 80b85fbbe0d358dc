"""A net that exports in a second, as somebody's own package would hold one."""

from __future__ import annotations

import sys
import time

import torch
from torch import nn

from attnc.model_defs.config import ModelConfig

SIZE, CLASSES = 24, 10


def build(num_classes: int = CLASSES) -> nn.Module:
    """Convolution, ReLU, mean, linear; seeded; says how pictures are prepared."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 20, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(20, num_classes),
        )
    net.attnc_config = ModelConfig("tiny", "tiny", image_size=(SIZE, SIZE), minimum_size=8)
    return net.eval()


class Named(nn.Module):
    """The same with names, and code of its own: what errors are told by."""

    attnc_config = ModelConfig("named", "named", image_size=(SIZE, SIZE), minimum_size=8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 20, 3, stride=2, padding=1)
        self.head = nn.Linear(20, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = torch.relu(self.stem(x))
        return self.head(x.mean((2, 3)))


def build_named() -> nn.Module:
    """Seeded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Named().eval()


def build_two_outputs() -> nn.Module:
    """Gives two tensors."""

    class Two(nn.Module):
        attnc_config = ModelConfig("two", "two", image_size=(SIZE, SIZE), minimum_size=8)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            pooled = x.mean((2, 3))
            return pooled, pooled * 2

    return Two()


def build_not_finite() -> nn.Module:
    """Gives NaN."""
    net = build()
    with torch.no_grad():
        net[0].weight[0] = float("nan")
    return net


def build_float32_only() -> nn.Module:
    """Has float32 written into its code, so it cannot run in float64."""

    class Stubborn(nn.Module):
        attnc_config = ModelConfig("stubborn", "x", image_size=(SIZE, SIZE), minimum_size=8)

        def __init__(self) -> None:
            super().__init__()
            self.net = build()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.net(x.to(torch.float32))
            return logits

    return Stubborn()


def build_slow() -> nn.Module:
    """Takes a minute in float64, which is how outputs are recorded, and says so."""

    class Slow(nn.Module):
        attnc_config = ModelConfig("slow", "x", image_size=(SIZE, SIZE), minimum_size=8)

        def __init__(self) -> None:
            super().__init__()
            self.net = build()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype == torch.float64:
                print("sleeping", file=sys.stderr, flush=True)
                time.sleep(60)
            logits: torch.Tensor = self.net(x)
            return logits

    return Slow()
