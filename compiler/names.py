"""Names of values that a graph does not have yet."""

from __future__ import annotations

import onnx_ir as ir


def taken_names(graph: ir.Graph) -> set[str | None]:
    """The names of all values: inputs, initializers, results."""
    taken = {value.name for node in graph.all_nodes() for value in node.outputs}
    taken.update(graph.initializers, (value.name for value in graph.inputs))
    return taken


def name_beside(taken: set[str | None], hint: str) -> str:
    """`hint`, with a number if it is taken."""
    name, count = hint, 0
    while name in taken:
        count += 1
        name = f"{hint}_{count}"
    return name
