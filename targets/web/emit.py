"""Write what a web bundle holds: the standard model, the engine's program and weights, the plan."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from attnc.compiler.manifest import Preprocessing, canonical_json
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.pipeline import run_pipeline
from attnc.targets.cpu.lower import LOWERED_NAMES, Refusal, lower
from attnc.targets.cpu.turn import MAP_TURNS, turn_maps
from attnc.targets.model_file import finish, write_model
from attnc.targets.profile import Profile
from attnc.targets.web.plan import Plan, plan
from attnc.targets.web.program import to_bytes
from attnc.targets.web.standard import (
    check_standard,
    halve_weights,
    tidy,
    to_standard,
    wide_nodes,
)
from attnc.targets.web.static import static_kinds
from attnc.targets.web.views import View, views_of

FOLDER, PROGRAM, WEIGHTS, PLAN = "web", "program.bin", "weights.bin", "plan.json"
TYPE_NAMES = ("float32", "int64", "int32", "bool")


@dataclass(frozen=True)
class Emission:
    """What was written: steps by operator, memory in bytes, views, nodes of rank above four."""

    plan: Plan
    views: tuple[View, ...]
    not_lowered: tuple[Refusal, ...]
    wide: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """`half`: weights as float16; `labels`, `picture`: what the page shows and how it prepares."""

    model: str
    half: bool = False
    labels: Sequence[str] | None = None
    picture: Preprocessing | None = None


def emit(
    model: ir.Model, profile: Profile, folder: Path, engine: Sequence[Path], wish: Wish
) -> Emission:
    """Lower the model and write it into an existing folder; `engine` are the files that run it.

    Raises UnsupportedError naming what the engine or onnxruntime-web cannot express.
    """
    made, kept, refusals = program_of(model, half=wish.half)
    (folder / FOLDER).mkdir()
    (folder / FOLDER / PROGRAM).write_bytes(to_bytes(made.program))
    (folder / FOLDER / WEIGHTS).write_bytes(made.weights)
    text = canonical_json(_document(made, kept, model, wish))
    (folder / FOLDER / PLAN).write_text(text, encoding="utf-8")
    for source in engine:
        shutil.copyfile(source, folder / FOLDER / source.name)
    to_standard(model)
    finish(model, profile)
    check_standard(model)
    wide = tuple(f"{node.op_type} {node.name}" for node in wide_nodes(model))
    if wish.half:
        halve_weights(model)
    write_model(model, folder)
    return Emission(made, tuple(kept), tuple(refusals), wide)


def program_of(model: ir.Model, *, half: bool) -> tuple[Plan, list[View], list[Refusal]]:
    """The engine's program of a semantic model, which stays as it is; views; what has no kernel."""
    lowered, refusals = lowered_graph(model)
    return *planned(lowered, half=half), refusals


def lowered_graph(model: ir.Model) -> tuple[ir.Model, list[Refusal]]:
    """The graph that the engine executes, of a semantic model; what has no kernel."""
    lowered = ir.from_proto(ir.to_proto(model))
    refusals = lower(lowered)
    turn_maps(lowered)
    for node in [node for node in lowered.graph if node.domain == DOMAIN]:
        if node.op_type not in LOWERED_NAMES | MAP_TURNS.keys():
            inline_body(node)
    run_pipeline(lowered, tidy())
    return lowered, refusals


def planned(lowered: ir.Model, *, half: bool) -> tuple[Plan, list[View]]:
    """The program of a graph for the engine, and what a page can show of it."""
    kinds = static_kinds(lowered)
    views = views_of(lowered, kinds)
    return plan(lowered, kinds, [view.value for view in views], half=half), views


def _document(made: Plan, views: Sequence[View], model: ir.Model, wish: Wish) -> dict[str, Any]:
    program = made.program
    graph = model.graph
    return {
        "format": "attnc-web",
        "version": 1,
        "model": wish.model,
        "program": PROGRAM,
        "weights": WEIGHTS,
        "inputs": [_port(made, str(value.name)) for value in graph.inputs],
        "outputs": [_port(made, str(value.name)) for value in graph.outputs],
        "views": [_view(made, view) for view in views],
        "preprocessing": None if wish.picture is None else wish.picture.model_dump(mode="json"),
        "labels": None if wish.labels is None else list(wish.labels),
        "memory": {"arena": program.arena_bytes, "weights": program.weight_bytes},
    }


def _port(made: Plan, name: str) -> dict[str, Any]:
    number = made.numbers[name]
    tensor = made.program.tensors[number]
    kind = {"dtype": TYPE_NAMES[tensor.dtype], "shape": list(tensor.dims)}
    return {"name": name, "tensor": number, **kind}


def _view(made: Plan, view: View) -> dict[str, Any]:
    said = {"kind": view.kind, "stage": view.stage, "tokens": view.tokens, "fused": view.fused}
    return {**_port(made, view.value), **said, "grid": list(view.grid)}
