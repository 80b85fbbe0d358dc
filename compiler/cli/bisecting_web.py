"""A web bundle's program: whether it is the source's, and each step alone in the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnc.compiler.bundle import Bundle

if TYPE_CHECKING:
    import onnx_ir as ir

    from attnc.compiler.cli.proving import Traced
    from attnc.runtimes.proof.values import Place
    from attnc.runtimes.web.engine import LoadedProgram


def program_differs(bundle: Bundle, semantic: ir.Model) -> str:
    """Which file of the program is not what the source's graph gives; empty if both are."""
    from attnc.targets.web.emit import FOLDER, PROGRAM, WEIGHTS, program_of
    from attnc.targets.web.program import to_bytes

    made = program_of(semantic, half=_half(bundle))[0]
    folder = bundle.path / FOLDER
    for name, data in ((PROGRAM, to_bytes(made.program)), (WEIGHTS, made.weights)):
        if (folder / name).read_bytes() != data:
            return f"{FOLDER}/{name}"
    return ""


def first_wrong_step(bundle: Bundle, given: Traced) -> Place | None:
    """The node of the first step whose result is not its operator's, on the inputs it really had.

    Runs the engine that the bundle carries, step by step.
    """
    from attnc.runtimes.proof.nodes import LIMIT, error_of
    from attnc.runtimes.proof.values import Place
    from attnc.runtimes.web.engine import WasmEngine
    from attnc.targets.web.emit import FOLDER, lowered_graph, planned

    graph, _ = lowered_graph(given.traced.model)
    plan = planned(graph, half=_half(bundle))[0]
    program = WasmEngine(bundle.path / FOLDER).program
    for value in graph.graph.inputs:
        program.put(plan.numbers[str(value.name)], given.feed[str(value.name)])
    by_output = {
        plan.numbers[str(node.outputs[0].name)]: node
        for node in graph.graph
        if str(node.outputs[0].name) in plan.numbers
    }
    for index, step in enumerate(plan.program.steps):
        node = by_output[step.outputs[0]]
        seen = _observe(program, index, node, plan.numbers)
        error = error_of(seen, graph.graph.opset_imports)
        if not error <= LIMIT:
            return Place.at(node, error, LIMIT)
    return None


def _observe(program: LoadedProgram, index: int, node: ir.Node, numbers: dict[str, int]) -> Any:
    from attnc.runtimes.proof.nodes import Observed

    given = tuple(
        None if value is None else program.get(numbers[str(value.name)]) for value in node.inputs
    )
    program.run_step(index)
    made = tuple(
        program.get(numbers[str(value.name)])
        for value in node.outputs
        if str(value.name) in numbers
    )
    return Observed(node, given, made)


def _half(bundle: Bundle) -> bool:
    return bundle.manifest.precision == "fp16w"
