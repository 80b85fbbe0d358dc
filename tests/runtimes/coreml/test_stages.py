"""Stages of a torch module, found again among the values of a program in whatever layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attnc.runtimes.coreml.program import Operation
from attnc.runtimes.coreml.stages import LAST, Stages, stage_outputs

RNG = np.random.default_rng(32)


class Net(nn.Module):
    """A stem, blocks that work on tokens, one of which runs twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 2, stride=2)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(2))
        self.pair = Pair()
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        for block in (*self.blocks, self.blocks[0]):
            tokens = block(tokens)
        return self.head(self.pair(tokens)[0])


class Pair(nn.Module):
    """Gives no tensor."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean(1), x


def numbers(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def test_outputs_of_blocks_and_children() -> None:
    net, x = Net().eval(), numbers(1, 3, 8, 6)
    found = stage_outputs(net, x)
    ran = ["stem", *(f"blocks.{index}{part}" for index in (1, 0) for part in (".0", ".1", ""))]
    assert list(found) == ran
    assert found["stem"].shape == (1, 6, 4, 3)
    with torch.no_grad():
        tokens = net.stem(torch.from_numpy(x)).flatten(2).transpose(1, 2)
        for index in (0, 1, 0):
            tokens = net.blocks[index](tokens)
    np.testing.assert_array_equal(found["blocks.0"], tokens.numpy())
    assert not any(module._forward_hooks for module in net.modules())


def watched(output: Any, *values: Any, module: str = "blocks.0.1") -> Stages:
    """A watcher of the stage `blocks.0` that saw these values, made by one of its parts."""
    origins = {"mine": {"module": module}, "other": {"module": "blocks.01"}}
    stages = Stages({"blocks.0": output}, origins)
    for value in values:
        stages(Operation("relu", "mine", {}, (), {}, ()), (value,))
    stages(Operation("relu", "other", {}, (), {}, ()), (output,))
    stages(Operation("relu", "unknown", {}, (), {}, ()), (output,))
    return stages


def nearest(output: Any, *values: Any, **options: Any) -> Any:
    (stage,) = watched(output, *values, **options).compared()
    assert stage.module == "blocks.0"
    return stage.metrics


MAP, TOKENS = numbers(1, 6, 4, 3), numbers(1, 12, 6)


@pytest.mark.parametrize(
    ("output", "held"),
    [
        pytest.param(MAP, MAP, id="as it is"),
        pytest.param(MAP, MAP.transpose(0, 2, 3, 1), id="channels last"),
        pytest.param(MAP.transpose(0, 2, 3, 1), MAP, id="channels first"),
        pytest.param(MAP, MAP.reshape(1, 6, 12), id="flattened"),
        pytest.param(MAP, MAP.transpose(0, 2, 3, 1).reshape(1, 12, 6), id="tokens of a map"),
        pytest.param(TOKENS, TOKENS.transpose(0, 2, 1)[:, :, None], id="tokens as a row"),
        pytest.param(TOKENS, TOKENS.reshape(1, 4, 3, 6), id="tokens as a map, channels last"),
        pytest.param(TOKENS, TOKENS.transpose(0, 2, 1).reshape(1, 6, 4, 3), id="tokens as a map"),
    ],
)
def test_layouts(output: Any, held: Any) -> None:
    distance = nearest(output, held.astype(np.float16))
    assert distance.cosine > 0.99999
    assert distance.max_relative < 1e-3


def test_the_nearest_of_the_last_values_counts() -> None:
    others = [numbers(*MAP.shape) for _ in range(LAST)]
    assert nearest(MAP, MAP, *others[1:]).max_relative == 0.0
    assert nearest(MAP, *others[:2], MAP, numbers(1, 7)).max_relative == 0.0
    assert nearest(MAP, MAP, *others).max_relative > 0.1, "it was too long ago"


def test_a_wrong_stage_is_far_away() -> None:
    wrong = MAP.copy()
    wrong[0, 2] *= -1
    assert nearest(MAP, wrong).cosine < 0.99
    assert not nearest(MAP, np.full_like(MAP, np.nan)).cosine > 0


@pytest.mark.parametrize("module", ["blocks", "blocks.1", "blocks.00", ""])
def test_values_of_other_modules_do_not_count(module: str) -> None:
    assert nearest(MAP, MAP, module=module) is None


def test_values_of_other_sizes_and_kinds_do_not_count() -> None:
    assert nearest(MAP, MAP[:, :3], np.zeros(MAP.shape, np.int32)) is None


def test_modules_that_are_no_blocks_have_no_stage() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.ModuleDict({"mixer": nn.Conv2d(3, 3, 1)})

        def forward(self, x: Tensor) -> Tensor:
            return self.part["mixer"](x)

    assert stage_outputs(Deep(), numbers(1, 3, 4, 4)) == {}
