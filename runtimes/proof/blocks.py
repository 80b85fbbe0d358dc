"""Blocks of a torch module as the stages by which a model and its lowered form are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attnc.runtimes.proof.metrics import Metrics


@dataclass(frozen=True)
class Stage:
    """One block of the source, and how far the other's value of it is from the source's; no
    metrics if there is no such value. `value` is its name, where that is known."""

    module: str
    value: str
    metrics: Metrics | None

    def as_json(self) -> dict[str, Any]:
        """The entry of the report."""
        found = {} if self.metrics is None else self.metrics.as_json()
        return {"module": self.module, "value": self.value, **found}


def block_of(module: str) -> str:
    """The block that a module is in: its path up to and with the last number, or its first part.

    blocks.3.attn.qkv -> blocks.3; stages.1.blocks.0.mlp -> stages.1.blocks.0; head -> head.
    """
    parts = module.split(".")
    numbered = [index for index, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbered[-1] + 1]) if numbered else parts[0]
