"""The web's side of an export: the engine's program beside a model of standard operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler import contents
from attnc.compiler.cli.emitting import Emitted, Labels
from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.manifest_parts import WebEntry
from attnc.compiler.progress import Progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from attnc.compiler.trace.traced import TracedModel
    from attnc.targets.profile import Profile

PRECISIONS = ("fp32", "fp16w")


class WebEmitter:
    """See `Emitter`."""

    stage = "packing the weights, planning memory"

    def __init__(self, profile: Profile, precision: str) -> None:
        from attnc.runtimes.web.files import engine_files

        if precision not in PRECISIONS:
            raise UsageError(
                f"target web has no precision {precision!r}",
                remedy=f"one of: {', '.join(PRECISIONS)}; fp16w stores weights in half the bytes",
            )
        self.profile, self.precision, self.engine = profile, precision, engine_files()

    def emit(
        self, traced: TracedModel, folder: Path, progress: Progress, labels: Labels = None
    ) -> Emitted:
        """The program for our engine, and `model.onnx` for onnxruntime-web."""
        from attnc.targets.web.emit import FOLDER, Wish, emit

        check_batch(traced)
        wish = Wish(traced.source.name, self.precision == "fp16w", labels, traced.preprocessing)
        emission = emit(traced.model, self.profile, folder, self.engine, wish)
        program = emission.plan.program
        entry = WebEntry(
            folder=FOLDER,
            steps=emission.plan.operators,
            arena_bytes=program.arena_bytes,
            weight_bytes=program.weight_bytes,
            views=dict(Counter(view.kind for view in emission.views)),
            wide=emission.wide,
        )
        return Emitted(
            {
                "precision": self.precision,
                "web": entry,
                "not_lowered": tuple(map(contents.refused, emission.not_lowered)),
            }
        )

    def refusals(self, model: ir.Model) -> Sequence[Any]:
        """See `Emitter`."""
        from attnc.targets.web.emit import program_of

        return program_of(model, half=False)[2]


def check_batch(traced: TracedModel) -> None:
    """Raise UnsupportedError for a batch that is free: the engine plans its memory at export."""
    if traced.batch == "dynamic":
        raise UnsupportedError(
            "the web engine takes a fixed number of pictures at once, not a dynamic batch",
            where=traced.source.name,
            remedy="leave --batch out, or give a number",
        )
