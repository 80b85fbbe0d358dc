"""Every output of a verification in all measures: what the verdict's one number leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.runtimes.proof.metrics import Metrics, measure

#: Of the figures in the JSON document, by name.
UNITS = {
    "max_absolute": "max |a - b|, in the output's own units",
    "mean_absolute": "mean |a - b|, in the output's own units",
    "max_relative": "max |a - b| / max |b|",
    "mean_relative": "mean |a - b| / max |b|",
    "cosine": "of the flattened outputs",
    "sqnr_db": "10 log10(sum b^2 / sum (a - b)^2), decibels; null where infinite",
    "top1": "share of rows with the same first class",
    "top5": "share of rows whose first class is among the bundle's first five",
}
#: Measures of which more is better; of the others the largest is the worst.
_BEST_HIGH = ("cosine", "sqnr_db", "top1", "top5")
COLUMNS = (
    *("output", "mode", "inputs", "max abs", "mean abs", "max rel", "mean rel"),
    *("cosine", "SQNR dB", "top-1", "top-5"),
)


@dataclass(frozen=True)
class Measured:
    """One output on one input; `mode` says what ran the bundle."""

    output: str
    input: str
    mode: str
    metrics: Metrics

    @classmethod
    def of(
        cls, output: str, given: str, mode: str, actual: NDArray[Any], expected: NDArray[Any]
    ) -> Measured:
        """Measured now. Raises ValueError if the shapes differ or are empty."""
        return cls(output, given, mode, measure(actual, expected))

    def as_json(self) -> dict[str, Any]:
        """The entry of the report."""
        names = {"output": self.output, "input": self.input, "mode": self.mode}
        return names | self.metrics.as_json()


def worst(measured: Sequence[Measured]) -> Metrics:
    """Of each measure the worst of all inputs."""
    rows = [asdict(one.metrics) for one in measured]
    return Metrics(
        **{key: (min if key in _BEST_HIGH else max)(row[key] for row in rows) for key in rows[0]}
    )


def table(measured: Iterable[Measured]) -> list[list[str]]:
    """Rows for people, as `COLUMNS`: the worst of all inputs, by output and mode."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.output, one.mode), []).append(one)
    return [[*key, str(len(ones)), *_cells(worst(ones))] for key, ones in groups.items()]


def _cells(m: Metrics) -> list[str]:
    errors = (m.max_absolute, m.mean_absolute, m.max_relative, m.mean_relative)
    shares = (m.top1, m.top5)
    return [
        *(f"{error:.1e}" if np.isfinite(error) else "not finite" for error in errors),
        f"{m.cosine:.7f}",
        f"{m.sqnr_db:.1f}" if np.isfinite(m.sqnr_db) else ("exact" if m.sqnr_db > 0 else "none"),
        *(f"{share:.4g}" for share in shares),
    ]
