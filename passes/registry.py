"""The passes by name, for `attnc list passes`; third parties add theirs by entry point."""

from __future__ import annotations

from importlib.metadata import entry_points

from attnc.compiler.pipeline import Pass

GROUP = "attnc.passes"


def passes() -> dict[str, Pass]:
    """All passes, ours in the order in which they run, then installed ones."""
    from attnc.passes import pipelines
    from attnc.passes.precision.to_precision import ToPrecision

    found: dict[str, Pass] = {}
    for step in (*pipelines.default(), ToPrecision("fp16")):
        found.setdefault(step.name, step)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        found.setdefault(point.name, point.load()())
    return found
