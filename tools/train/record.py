"""Writes what a training leaves: the weights, and the recipe with its curve as JSON.

Nothing in either varies from one run to the next on the same machine, so files can be compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.bundle import file_sha256
from attnc.compiler.errors import UsageError
from attnc.compiler.staging import write_bytes, write_text
from attnc.model_defs.registry import model_config
from attnc.runtimes.dataset import HELD_OUT, SPLIT_SEED, digits
from attnc.runtimes.machine import package_versions
from attnc.tools.train.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from attnc.tools.train.fitting import Fitted

MOST_BYTES = 2_000_000
CURVES = Path(__file__).parent / "curves"


def write(name: str, recipe: Recipe, seed: int, fitted: Fitted, folder: Path) -> tuple[Path, Path]:
    """Write `<name>.safetensors` and `<name>.json` into `folder`, each whole or not at all."""
    weights, record = folder / model_config(name).weights, folder / f"{name}.json"
    write_weights(fitted.module, weights)
    document = describe(name, recipe, seed, fitted, weights)
    write_text(record, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return weights, record


def write_weights(module: nn.Module, path: Path) -> None:
    """The state dict as safetensors. Raises UsageError if the file would be too large."""
    from safetensors.torch import save

    content = save({key: value.contiguous() for key, value in module.state_dict().items()})
    if len(content) > MOST_BYTES:
        raise UsageError(
            f"{path.name} would have {len(content):,} bytes; {MOST_BYTES:,} are the most",
            remedy="make the variant smaller",
        )
    write_bytes(path, content)


def describe(name: str, recipe: Recipe, seed: int, fitted: Fitted, weights: Path) -> dict[str, Any]:
    """The record of a training."""
    counts = {part: len(digits(part).samples) for part in ("training", "held-out")}
    return {
        "model": name,
        "parameters": sum(p.numel() for p in fitted.module.parameters()),
        "dataset": {"name": "digits", "share": HELD_OUT, "split_seed": SPLIT_SEED, **counts},
        "recipe": recipe.as_json(),
        "seed": seed,
        "versions": package_versions(("torch", "numpy", "pillow", "scikit-learn")),
        "weights": {
            "file": weights.name,
            "bytes": weights.stat().st_size,
            "sha256": file_sha256(weights),
        },
        "held_out": fitted.curve[-1].as_json()["held_out"],
        "curve": [epoch.as_json() for epoch in fitted.curve],
    }


def read_records(folder: Path = CURVES) -> list[dict[str, Any]]:
    """The records in a folder, by model name. Raises UsageError if there is none."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise UsageError(f"{folder} holds no records of trainings", where=str(folder))
    return found
