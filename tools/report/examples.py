"""For each pass that matched: the nodes around its first match, before and after.

The manifest only counts; so the source is traced again and the same passes run over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from attnc.compiler.bundle import Bundle
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.pipeline import Pass
from attnc.compiler.provenance import source_line, torch_module
from attnc.tools.report.document import Box, Example

MOST_BOXES = 14


@dataclass(frozen=True)
class Seen:
    """A node as it stood at one moment; passes rewrite the real ones in place."""

    node: ir.Node
    operator: str
    name: str
    module: str
    line: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    fused: bool


def retrace(bundle: Bundle) -> tuple[list[Example], ir.Model]:
    """The examples, and the graph after all passes. Raises AttncError if the source is gone."""
    from attnc.compiler.source import trace_options
    from attnc.compiler.trace import trace
    from attnc.passes.pipelines import default

    traced = trace(**trace_options(bundle), batch=bundle.manifest.batch)
    return examples(traced.model, default()), traced.model


def examples(model: ir.Model, passes: Iterable[Pass]) -> list[Example]:
    """Run the passes over a model, in place; one example for each name that fused something."""
    found: dict[str, Example] = {}
    before = look(model)
    for step in passes:
        matches = step.run(model).matches
        after = look(model)
        if matches and step.name not in found:
            example = first_match(step.name, before, after)
            if example is not None:
                found[step.name] = example
        before = after
    return list(found.values())


def look(model: ir.Model) -> list[Seen]:
    """All nodes of a graph, in order."""
    return [
        Seen(
            node=node,
            operator=node.op_type,
            name=node.name or "",
            module=torch_module(node),
            line=source_line(node),
            reads=tuple(str(value.name) for value in node.inputs if value is not None),
            makes=tuple(str(value.name) for value in node.outputs),
            fused=node.domain == DOMAIN,
        )
        for node in model.graph
    ]


def first_match(step: str, before: Sequence[Seen], after: Sequence[Seen]) -> Example | None:
    """The first fused operator that is new, and what stood in its place; None if there is none."""
    old = {seen.node for seen in before}
    left = {seen.node for seen in after}
    new = [seen for seen in after if seen.node not in old]
    for seen in (seen for seen in new if seen.fused):
        made = _cone(seen, new, set(seen.reads))
        edges = {value for each in made for value in each.reads}
        gone = [each for each in before if each.node not in left]
        roots = [each for each in gone if set(each.makes) & set(seen.makes)]
        if roots:
            replaced = _cone(roots[-1], gone, edges)
            return _example(step, seen, replaced, [seen])
    return None


def _cone(root: Seen, nodes: Sequence[Seen], edges: set[str]) -> list[Seen]:
    """`root` and those of `nodes` that lead to it, not beyond the values in `edges`."""
    makers = {value: seen for seen in nodes for value in seen.makes}
    held, waiting = {root.node}, [root]
    found = [root]
    while waiting:
        for value in waiting.pop().reads:
            maker = None if value in edges else makers.get(value)
            if maker is not None and maker.node not in held:
                held.add(maker.node)
                waiting.append(maker)
                found.append(maker)
    order = {id(seen): place for place, seen in enumerate(nodes)}
    return sorted(found, key=lambda seen: order.get(id(seen), -1))


def _example(step: str, seen: Seen, before: Sequence[Seen], after: Sequence[Seen]) -> Example:
    shown = list(before)[-MOST_BOXES:]
    return Example(
        step=step,
        module=seen.module,
        line=seen.line,
        before=_boxes(shown),
        after=_boxes(after),
        left_out=len(before) - len(shown),
    )


def _boxes(nodes: Sequence[Seen]) -> tuple[Box, ...]:
    readers: Mapping[int, tuple[int, ...]] = {
        place: tuple(
            later
            for later, other in enumerate(nodes)
            if later > place and set(seen.makes) & set(other.reads)
        )
        for place, seen in enumerate(nodes)
    }
    return tuple(
        Box(
            operator=seen.operator,
            name=seen.name,
            module=seen.module,
            line=seen.line,
            feeds=readers[place],
            fused=seen.fused,
        )
        for place, seen in enumerate(nodes)
    )
