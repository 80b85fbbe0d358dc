"""Runs onnxscript rewrite rules (pattern / check / rewrite) as passes that report near-misses.

The stock driver neither says why a check failed nor that a second consumer blocks a match.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import onnx_ir as ir

from attnc.compiler.pipeline import NearMiss, PassResult
from attnc.compiler.provenance import copy_metadata
from attnc.passes.anchor import MOST_SWEEPS
from attnc.passes.graph import Refuse, constant, remove_dead, require_private, sorted_by_graph


class RulePass:
    """A pass made of rule classes (onnxscript's), tried in order at every node."""

    def __init__(
        self, name: str, reason: str, rules: Sequence[Any], *, commute: bool = True
    ) -> None:
        self.name, self.reason = name, reason
        self._classes, self._commute = rules, commute

    @cached_property
    def _rules(self) -> list[Any]:
        made = [rule_class.rule() for rule_class in self._classes]
        return [
            variant for rule in made for variant in (rule.commute() if self._commute else [rule])
        ]

    def run(self, model: ir.Model) -> PassResult:
        """Sweep until a sweep finds nothing; the near-misses are those of the last one."""
        total = 0
        for _ in range(MOST_SWEEPS):
            found, misses = self._sweep(model)
            total += found
            if not found:
                return PassResult(total, tuple(misses))
            remove_dead(model.graph)
        raise RuntimeError(f"the pass {self.name} does not come to rest")

    def _sweep(self, model: ir.Model) -> tuple[int, list[NearMiss]]:
        found, misses = 0, dict[NearMiss, None]()
        for node in tuple(model.graph):
            if node.graph is None:
                continue
            refusals = dict[NearMiss, None]()
            for rule in self._rules:
                if _try_rule(rule, model, node, refusals):
                    found += 1
                    refusals.clear()
                    break
            misses.update(refusals)
        return found, list(misses)


class _Listener:
    """Receives the outcome of a match; keeps the reasons of failed checks."""

    def __init__(self) -> None:
        self.reason = ""
        self.sources: list[Any] = []

    def log(self, rule: Any, container: Any, node: ir.Node, match: Any, status: Any) -> None:
        """Called by the matcher; a failed condition carries the reason of `check`."""
        if status.name == "CONDITION_FAILED":
            self.reason = match.reason
            self.sources = list(match.failure_nodes_and_values)


def _try_rule(rule: Any, model: ir.Model, node: ir.Node, misses: dict[NearMiss, None]) -> bool:
    graph, listener = model.graph, _Listener()
    match = rule.match(model, graph, node, check_nodes_are_removable=False, tracer=listener)
    if not match:
        if listener.reason:
            place = next((s for s in listener.sources if isinstance(s, ir.Node)), node)
            misses[NearMiss.at(place, listener.reason)] = None
        return False
    try:
        require_private(match.nodes, match.outputs)
    except Refuse as refusal:
        misses[NearMiss.at(refusal.node or node, refusal.reason)] = None
        return False
    _rewrite(rule, model, node, match)
    return True


def _rewrite(rule: Any, model: ir.Model, node: ir.Node, match: Any) -> None:
    graph = model.graph
    delta = rule.try_rewrite(model, graph, node)
    if delta is None:
        raise RuntimeError(f"the rule {rule} matched at {node.name} but did not rewrite")
    for value in delta.new_initializers:
        held = constant(graph, value.const_value.numpy(), value.name)
        ir.convenience.replace_all_uses_with(value, held)
    copy_metadata(sorted_by_graph(graph, match.nodes), delta.new_nodes)
    delta.new_nodes[-1].name = node.name
    ir.convenience.replace_nodes_and_values(
        graph, node, match.nodes, delta.new_nodes, match.outputs, delta.new_outputs
    )
