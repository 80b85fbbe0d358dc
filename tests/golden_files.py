"""The state_dict keys recorded from the official modules, and models filled by their names."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from data.fill import fill_state_dict
from torch import nn

GOLDEN = Path(__file__).parent / "data" / "golden"


def keys_of(name: str) -> dict[str, tuple[int, ...]]:
    """Key to shape, in the official order."""
    recorded = json.loads((GOLDEN / f"keys_{name}.json").read_text())
    return {key: tuple(shape) for key, shape in recorded.items()}


def fill(model: nn.Module, keys: dict[str, tuple[int, ...]]) -> nn.Module:
    """The model with the weights that the golden outputs were made with."""
    values = {key: torch.from_numpy(value) for key, value in fill_state_dict(keys).items()}
    model.load_state_dict(values)
    return model
