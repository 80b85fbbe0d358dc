"""Runs an ordered list of passes over a model and records what each of them did.

The records feed the manifest (`attnc explain`, graph hashes); times are kept apart, because
exporting twice must give the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import onnx_ir as ir

from attnc.compiler.graph_hash import GraphHasher
from attnc.compiler.provenance import source_line, torch_module


@dataclass(frozen=True)
class NearMiss:
    """A place where a pass found its pattern but must not rewrite, and why."""

    node: str
    module: str
    source: str
    reason: str

    @classmethod
    def at(cls, node: ir.Node, reason: str) -> NearMiss:
        """The near-miss at `node`."""
        name = f"{node.op_type} {node.name}" if node.name else node.op_type
        return cls(name, torch_module(node), source_line(node), reason)


@dataclass(frozen=True)
class PassResult:
    """What one run of a pass did: rewrites made, and places refused with a reason."""

    matches: int
    near_misses: tuple[NearMiss, ...] = ()


@runtime_checkable
class Pass(Protocol):
    """A graph rewrite. `reason` says in one line why it is in the pipeline."""

    name: str
    reason: str

    def run(self, model: ir.Model) -> PassResult:
        """Rewrite `model` in place."""
        ...


@dataclass(frozen=True)
class PassRecord:
    """One line of the pipeline's history. `seconds` is not part of equality nor of `to_json`."""

    name: str
    reason: str
    matches: int
    near_misses: tuple[NearMiss, ...]
    nodes_before: int
    nodes_after: int
    graph_hash: str
    seconds: float = field(compare=False, default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Everything that is the same on every run (so: no time)."""
        return {
            "name": self.name,
            "reason": self.reason,
            "matches": self.matches,
            "near_misses": [vars(miss) for miss in self.near_misses],
            "nodes_before": self.nodes_before,
            "nodes_after": self.nodes_after,
            "graph_hash": self.graph_hash,
        }


def run_pipeline(model: ir.Model, passes: Iterable[Pass]) -> list[PassRecord]:
    """Run `passes` in order over `model`, in place; one record for each of them."""
    hasher = GraphHasher()
    records = []
    for step in passes:
        before = len(model.graph)
        start = time.perf_counter()
        result = step.run(model)
        seconds = time.perf_counter() - start
        records.append(
            PassRecord(
                name=step.name,
                reason=step.reason,
                matches=result.matches,
                near_misses=tuple(result.near_misses),
                nodes_before=before,
                nodes_after=len(model.graph),
                graph_hash=hasher.hash(model),
                seconds=seconds,
            )
        )
    return records


def total_matches(records: Sequence[PassRecord], name: str) -> int:
    """Matches of all records of that pass (a pass may stand in a list more than once)."""
    return sum(record.matches for record in records if record.name == name)
