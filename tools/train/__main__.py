"""Fit small variants to the digits and write their weights and records.

python -m attnc.tools.train shvit_nano -o build/trained
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnc.compiler.cli.guard import fail
from attnc.compiler.errors import AttncError, UsageError
from attnc.tools.train.recipe import RECIPES, recipe_of
from attnc.tools.train.training import train


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")],
    models: Annotated[
        list[str] | None, typer.Argument(help=f"One or more of {', '.join(RECIPES)}.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Train all of them.")] = False,
    epochs: Annotated[
        int | None, typer.Option(help="How many epochs, instead of the recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first weights, order and shifts.")] = 0,
) -> None:
    """Train on one thread; NAME.safetensors and NAME.json appear in the folder when it is done."""
    try:
        names = _chosen(models or [], every)
        recipes = {name: recipe_of(name, epochs) for name in names}
        output.mkdir(parents=True, exist_ok=True)
        for name, recipe in recipes.items():
            train(name, recipe, seed, output)
    except AttncError as error:
        fail(f"error: {error.render()}", error.exit_code)


def _chosen(names: list[str], every: bool) -> list[str]:
    if every == bool(names):
        raise UsageError("name the models to train, or give --all, one of both")
    return list(RECIPES) if every else list(dict.fromkeys(names))


if __name__ == "__main__":
    typer.run(main)
