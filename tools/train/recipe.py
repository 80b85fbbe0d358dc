"""How each small variant is trained: one recipe, and what a family needs otherwise."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from attnc.compiler.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """AdamW with a linear warm-up and a cosine to zero, on shifted pictures.

    `warm_up` is a share of all steps, `most_shift` is in pixels of the enlarged picture, each way;
    `mask_weight` is that of the loss that teaches a Sparsifiner which keys matter.
    """

    epochs: int = 60
    batch: int = 32
    rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: float = 0.05
    label_smoothing: float = 0.1
    most_shift: int = 8
    most_gradient: float = 1.0
    embedding_deviation: float = 0.02
    mask_weight: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The entry of the record."""
        return asdict(self)


_BASE = Recipe()
RECIPES = {
    "shvit_nano": replace(_BASE, epochs=30),
    "evit_nano": replace(_BASE, most_shift=4),
    "sparsifiner_nano": replace(_BASE, most_shift=4, mask_weight=1.0),
    "tic_nano": replace(_BASE, epochs=15),
    "glmix_nano": replace(_BASE, epochs=15),
}


def recipe_of(name: str, epochs: int | None = None) -> Recipe:
    """The recipe of a small variant, with another number of epochs if asked for.

    Raises UsageError if there is none.
    """
    if name not in RECIPES:
        raise UsageError(
            f"there is no recipe for {name!r}", remedy=f"one of {', '.join(RECIPES)}, or --all"
        )
    if epochs is not None and epochs < 1:
        raise UsageError(f"cannot train for {epochs} epochs", remedy="--epochs 1, or more")
    return RECIPES[name] if epochs is None else replace(RECIPES[name], epochs=epochs)
