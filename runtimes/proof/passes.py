"""Runs the reference after every pass on the same inputs, and stops at the first that is wrong.

In float64, where all that a right pass may change is the rounding of weights that it folds; and in
float32 by ONNX Runtime on the function bodies, which is what a user's runtime computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.graph_hash import GraphHasher
from attnc.compiler.ops.registry import attach_functions
from attnc.compiler.pipeline import Pass
from attnc.runtimes.onnx_session import infer, open_session, session_options
from attnc.runtimes.proof.float64 import compute64
from attnc.runtimes.proof.metrics import Metrics, measure

Array = NDArray[Any]
Feeds = Mapping[str, Array]
#: max |a - b| / max |b| in float64 against the graph before the pass. Folding a BatchNorm rounds
#: its weights to float32: over all passes of all families that came to 2e-7.
LIMIT64 = 2e-6
#: As in `attnc verify`: float32 logits against float64.
LIMIT32 = 1e-4
#: Of models that choose: times what a change as small as rounding does.
MOVEMENTS, SHAKE = 4.0, 1e-6


@dataclass(frozen=True)
class PassCheck:
    """What one pass changed of the outputs, the worst of all inputs; no metrics if unchanged."""

    name: str
    matches: int
    status: str  # "verified", "failed", "unchanged"
    float64: Metrics | None = None
    float32: Metrics | None = None
    limit64: float = LIMIT64
    limit32: float = LIMIT32
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The entry of the report."""
        return {
            "pass": self.name,
            "matches": self.matches,
            "status": self.status,
            "float64": self.float64.as_json() if self.float64 else None,
            "float32": self.float32.as_json() if self.float32 else None,
            "limit64": self.limit64,
            "limit32": self.limit32,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Wrong:
    """The first wrong pass: the graphs around it and the input that shows it."""

    check: PassCheck
    before: ir.Model
    after: ir.Model
    feeds: Feeds
    expected: Array
    got: Array


class PassChecker:
    """Checks passes one after the other on a model, which they rewrite in place."""

    def __init__(self, model: ir.Model, inputs: Sequence[Array], *, chooses: bool = False) -> None:
        name = str(model.graph.inputs[0].name)
        self.model, self.chooses = model, chooses
        self.inputs: list[Feeds] = [{name: array} for array in inputs]
        self.first = [compute64(model, feed)[0] for feed in self.inputs]
        self.last = self.first
        self.hasher = GraphHasher()
        self.hash = self.hasher.hash(model)
        self.wrong: Wrong | None = None

    def run(
        self, passes: Sequence[Pass], advance: Callable[[], None] = lambda: None
    ) -> Iterator[PassCheck]:
        """One check per pass, until one fails."""
        for step in passes:
            check = self._one(step)
            advance()
            yield check
            if check.status == "failed":
                return

    def _one(self, step: Pass) -> PassCheck:
        before = self.model.clone()
        try:
            matches = step.run(self.model).matches
        except Exception as error:
            return self._failed(step, before, 0, f"the pass stopped: {_said(error)}")
        found = self.hasher.hash(self.model)
        if found == self.hash:
            return PassCheck(step.name, matches, "unchanged")
        self.hash = found
        try:
            now = [compute64(self.model, feed)[0] for feed in self.inputs]
            float32 = [_compute32(self.model, feed) for feed in self.inputs]
        except Exception as error:
            return self._failed(step, before, matches, f"the graph does not run: {_said(error)}")
        return self._judge(step, before, matches, now, float32)

    def _judge(
        self, step: Pass, before: ir.Model, matches: int, now: list[Array], float32: list[Array]
    ) -> PassCheck:
        if any(a.shape != b.shape for a, b in zip(now, self.last, strict=True)):
            return self._failed(step, before, matches, "the output has another shape")
        exact = [measure(a, b) for a, b in zip(now, self.last, strict=True)]
        rounded = [measure(a, b) for a, b in zip(float32, self.first, strict=True)]
        worst64 = int(np.argmax([m.max_relative for m in exact]))
        worst32 = int(np.argmax([m.max_relative for m in rounded]))
        limit64, limit32 = LIMIT64, LIMIT32
        over = not (exact[worst64].max_relative <= limit64)
        over32 = not (rounded[worst32].max_relative <= limit32)
        if self.chooses and (over or over32):
            moved = MOVEMENTS * self._moved(before)
            limit64, limit32 = max(limit64, moved), max(limit32, moved)
            over = not (exact[worst64].max_relative <= limit64)
            over32 = not (rounded[worst32].max_relative <= limit32)
        reason = ""
        if over:
            reason = "the graph computes something else in float64"
        elif over32:
            reason = "the graph is right in float64, and wrong in float32"
        check = PassCheck(
            step.name,
            matches,
            "failed" if reason else "verified",
            exact[worst64],
            rounded[worst32],
            limit64,
            limit32,
            reason,
        )
        if reason:
            case = worst64 if over else worst32
            expected = self.last[case] if over else self.first[case]
            got = now[case] if over else float32[case]
            self.wrong = Wrong(check, before, self.model, self.inputs[case], expected, got)
        self.last = now
        return check

    def _failed(self, step: Pass, before: ir.Model, matches: int, reason: str) -> PassCheck:
        check = PassCheck(step.name, matches, "failed", reason=reason)
        nothing = np.zeros(0)
        self.wrong = Wrong(check, before, self.model, self.inputs[0], self.last[0], nothing)
        return check

    def _moved(self, model: ir.Model) -> float:
        """How far the outputs move, relatively, when an input changes as little as by rounding."""
        rng, found = np.random.default_rng(0), 0.0
        for feed, expected in zip(self.inputs, self.last, strict=True):
            shaken = {
                name: array * (1 + rng.uniform(-SHAKE, SHAKE, array.shape)).astype(array.dtype)
                for name, array in feed.items()
            }
            found = max(found, measure(compute64(model, shaken)[0], expected).max_relative)
        return found


def _compute32(model: ir.Model, feeds: Feeds) -> Array:
    whole = model.clone()
    attach_functions(whole)
    session = open_session(ir.to_proto(whole).SerializeToString(), session_options())
    return next(iter(infer(session, feeds).values()))


def _said(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
