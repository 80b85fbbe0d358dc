"""Repeats passes that feed each other until none of them finds anything more.

sizes -> constants -> shapes of Reshapes -> more sizes -> ...        =>        all that can be known
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from attnc.compiler.pipeline import Pass, PassResult

MOST_ROUNDS = 50


class Repeat:
    """Rounds over `passes`, until a round changes nothing."""

    def __init__(
        self,
        passes: Sequence[Pass],
        name: str = "repeat_folding",
        reason: str = "folded sizes give shapes, and shapes give more sizes to fold",
    ) -> None:
        self.passes, self.name, self.reason = tuple(passes), name, reason

    def run(self, model: ir.Model) -> PassResult:
        """Sum of all matches; the near-misses of the last round."""
        total = 0
        for _ in range(MOST_ROUNDS):
            results = [step.run(model) for step in self.passes]
            found = sum(result.matches for result in results)
            total += found
            if not found:
                misses = [miss for result in results for miss in result.near_misses]
                return PassResult(total, tuple(dict.fromkeys(misses)))
        raise RuntimeError(f"the pass {self.name} does not come to rest")
