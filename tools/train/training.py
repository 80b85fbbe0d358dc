"""One training from its name to its files, telling how it goes."""

from __future__ import annotations

from pathlib import Path

from attnc.compiler.cli.console import note
from attnc.tools.train.fitting import Epoch, fit
from attnc.tools.train.recipe import Recipe
from attnc.tools.train.record import write


def train(name: str, recipe: Recipe, seed: int, folder: Path) -> tuple[Path, Path]:
    """Fit the variant `name` and write its weights and its record into `folder`; returns both.

    Raises UsageError for unknown names, MissingRuntimeError without scikit-learn.
    """

    def tell(epoch: Epoch) -> None:
        note(
            f"{name}: epoch {epoch.epoch} of {recipe.epochs}, loss {epoch.loss:.4f}, "
            f"held-out accuracy {epoch.held_out:.4f}"
        )

    return write(name, recipe, seed, fit(name, recipe, seed, tell), folder)
