"""The crossover as a picture: ratios of latency as lines, those of FLOPs dashed, 1 marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.crossover import Cell


def need_matplotlib() -> None:
    """Raise MissingRuntimeError if there is no matplotlib; called before hours of measuring."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingRuntimeError(
            f"the plot needs matplotlib: {error}", remedy="pip install 'attnc[report]'"
        ) from error


def plot(cells: Sequence[Cell], title: str, path: Path) -> None:
    """Write the PNG `path`: over the keep rate above, over the token count below, per batch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    batches = sorted({cell.batch for cell in cells})
    figure = Figure(figsize=(5.5 * len(batches), 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(batches), squeeze=False, sharey=True)
    for column, batch in enumerate(batches):
        held = [cell for cell in cells if cell.batch == batch]
        over_keep, over_tokens = axes[0][column], axes[1][column]
        for tokens in sorted({cell.tokens for cell in held}):
            chosen = [cell for cell in held if cell.tokens == tokens]
            _line(over_keep, [(c.keep, c) for c in chosen], f"{tokens} tokens")
        for keep in sorted({cell.keep for cell in held}, reverse=True):
            chosen = [cell for cell in held if cell.keep == keep]
            _line(over_tokens, [(c.tokens, c) for c in chosen], f"keep {keep:g}")
        _describe(over_keep, f"batch {batch}", "keep rate")
        _describe(over_tokens, "", "tokens")
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _line(axis: Any, points: Sequence[tuple[float, Cell]], label: str) -> None:
    ordered = sorted(points, key=lambda point: point[0])
    x = [place for place, _ in ordered]
    (drawn,) = axis.plot(x, [cell.latency_ratio for _, cell in ordered], "o-", label=label)
    axis.plot(x, [cell.flop_ratio for _, cell in ordered], "--", color=drawn.get_color(), alpha=0.6)


def _describe(axis: Any, title: str, x: str) -> None:
    axis.axhline(1.0, color="black", linewidth=0.8)
    axis.set(title=title, xlabel=x, ylabel="time / dense (dashed: FLOPs / dense)")
    axis.legend(fontsize="small")
