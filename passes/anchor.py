"""In-place passes that start at one operator and look around it, where no fixed pattern fits.

A subclass names its anchors and rewrites at one of them; this file walks the graph, repeats
until nothing changes (so that every pass is idempotent), and collects the refusals.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import onnx_ir as ir

from attnc.compiler.pipeline import NearMiss, PassResult
from attnc.passes.graph import STANDARD, Refuse, remove_dead

MOST_SWEEPS = 100


class AnchorPass(ABC):
    """A pass that tries `apply` at every node whose operator is in `anchors` (empty: at all).

    Standard operators go by their name, fused ones by "attnc::Linear".
    """

    name: str
    reason: str
    anchors: frozenset[str] = frozenset()

    @abstractmethod
    def apply(self, node: ir.Node, graph: ir.Graph) -> bool:
        """Rewrite at `node`; False where the pattern is not there. May raise `Refuse`."""

    def begin(self, graph: ir.Graph) -> None:  # noqa: B027
        """Called before each sweep over the graph; by default nothing."""

    def run(self, model: ir.Model) -> PassResult:
        """Sweep until a sweep finds nothing; the near-misses are those of the last one."""
        graph, total = model.graph, 0
        for _ in range(MOST_SWEEPS):
            self.begin(graph)
            found, misses = self._sweep(graph)
            total += found
            if not found:
                return PassResult(total, tuple(misses))
            remove_dead(graph)
        raise RuntimeError(f"the pass {self.name} does not come to rest")

    def _sweep(self, graph: ir.Graph) -> tuple[int, list[NearMiss]]:
        found, misses = 0, dict[NearMiss, None]()
        for node in tuple(graph):
            if node.graph is None or not self._is_anchor(node):
                continue
            try:
                found += bool(self.apply(node, graph))
            except Refuse as refusal:
                misses[NearMiss.at(refusal.node or node, refusal.reason)] = None
        return found, list(misses)

    def _is_anchor(self, node: ir.Node) -> bool:
        if not self.anchors:
            return True
        name = node.op_type if node.domain in STANDARD else f"{node.domain}::{node.op_type}"
        return name in self.anchors
