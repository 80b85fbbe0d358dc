"""`attnc list`: models, passes, operators, targets, profiles."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from attnc.compiler.cli.options import JsonOption


class Kind(StrEnum):
    """What can be listed."""

    MODELS = "models"
    PASSES = "passes"
    OPERATORS = "operators"
    TARGETS = "targets"
    PROFILES = "profiles"


def list_things(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    json: JsonOption = None,
) -> None:
    """List what this attnc knows, with a line on each."""
    from attnc.compiler.cli.console import print_table, write_json

    rows = _LISTS[kind]()
    write_json([{"name": name, "description": text} for name, text in rows], json)
    if json == "-":
        return
    if sys.stdout.isatty():
        print_table("", [str(kind), "description"], [[name, text] for name, text in rows])
    else:
        for name, text in rows:
            print(f"{name}\t{text}")


def _models() -> list[tuple[str, str]]:
    from attnc.model_defs.registry import list_models, model_config

    configs = [model_config(name) for name in list_models()]
    return [
        (c.name, f"{c.family}, {c.image_size[0]}x{c.image_size[1]}, {c.num_classes} classes")
        for c in configs
    ]


def _passes() -> list[tuple[str, str]]:
    from attnc.passes.registry import passes

    return [(name, step.reason) for name, step in passes().items()]


def _operators() -> list[tuple[str, str]]:
    from attnc.compiler.ops.registry import LOW, LOWERED, SEMANTIC, TENSORRT

    levels = (("semantic", SEMANTIC), ("cpu", LOWERED + LOW), ("tensorrt", TENSORRT))
    return [
        (operator.name, f"{level}: {operator.doc or ', '.join(operator.inputs)}")
        for level, operators in levels
        for operator in operators
    ]


def _targets() -> list[tuple[str, str]]:
    from attnc.targets.registry import all_targets

    return [(target.name, target.description) for target in all_targets()]


def _profiles() -> list[tuple[str, str]]:
    from attnc.targets.profile import all_profiles

    return [
        (profile.name, f"{profile.target}: {profile.description}") for profile in all_profiles()
    ]


_LISTS = {
    Kind.MODELS: _models,
    Kind.PASSES: _passes,
    Kind.OPERATORS: _operators,
    Kind.TARGETS: _targets,
    Kind.PROFILES: _profiles,
}
