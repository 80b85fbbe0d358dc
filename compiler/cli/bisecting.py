"""Narrows a wrong bundle down: files, trace, pass, lowering, weights, kernel; then the node."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.proving import TRACE_LIMIT, Finding, Traced, checker, damaged, trace_again
from attnc.compiler.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from attnc.compiler.pipeline import Pass

#: max |a - b| / max |b| of a value in float64 before and after lowering: weights are packed, and
#: float16 where the bundle stores them so.
LOWERED_LIMITS = {"fp32": 2e-6, "fp16w": 1e-2, "fp16": 1e-2, "bf16": 5e-2, "int8": 1e-1}


@dataclass
class Bisection:
    """One run: each step looks at one stage and is asked only if those before were right."""

    bundle: Bundle
    repro: Path | None = None
    progress: Progress = SILENT
    passes: Sequence[Pass] | None = None
    library: Path | None = None  # in place of the bundle's own
    looked: list[str] = field(default_factory=list)

    def run(self) -> Finding:
        """The first stage that is wrong."""
        said = damaged(self.bundle)
        if said:
            return self._found("files", said)
        self.looked.append("files")
        given = trace_again(self.bundle, self.progress)
        semantic = given.traced.model
        for step in (self._trace, self._passes):
            found = step(given)
            if found is not None:
                return found
        return self._lowering(given, semantic) or self._kernels(given) or self._right()

    def _right(self) -> Finding:
        return Finding("nothing", "every stage is right", tuple(self.looked))

    def _found(self, stage: str, said: str, name: str = "", place: Any = None) -> Finding:
        shown = None if place is None else place.as_json()
        return Finding(stage, said, tuple(self.looked), name, shown)

    def _trace(self, given: Traced) -> Finding | None:
        """The traced graph against the source, both in float64."""
        from attnc.runtimes.proof.float64 import compute64
        from attnc.runtimes.proof.metrics import measure
        from attnc.runtimes.reference import exact_function

        self.progress.stage("the traced graph against the source")
        exact = exact_function(given.traced.reference)
        for array in given.inputs:
            feed = dict(given.feed)
            feed[next(iter(feed))] = array
            error = measure(compute64(given.traced.model, feed)[0], exact(array)).max_relative
            if not error <= TRACE_LIMIT:
                return self._found("trace", f"the traced graph differs by {error:.2g}")
        self.looked.append("trace")
        return None

    def _passes(self, given: Traced) -> Finding | None:
        from attnc.passes.pipelines import default
        from attnc.runtimes.proof.passes import LIMIT64
        from attnc.runtimes.proof.repro import save_repro
        from attnc.runtimes.proof.values import first_difference

        steps = list(self.passes if self.passes is not None else default())
        self.progress.stage("running the graph after every pass", len(steps))
        watched = checker(given)
        for check in watched.run(steps, self.progress.advance):
            if check.status != "failed" or watched.wrong is None:
                continue
            wrong, place = watched.wrong, None
            if check.float64 is not None:
                place = first_difference(wrong.before, wrong.after, wrong.feeds, LIMIT64)
            found = self._found("passes", check.reason, check.name, place)
            if self.repro is None:
                return found
            return Finding(**{**vars(found), "repro": str(save_repro(wrong, self.repro))})
        self.looked.append("passes")
        return None

    def _lowering(self, given: Traced, semantic: ir.Model) -> Finding | None:
        """The graph after the passes against the one in the bundle, in float64, and its weights."""
        import onnx_ir as ir

        from attnc.runtimes.proof.values import Place, first_difference

        manifest = self.bundle.manifest
        if manifest.coreml is not None:
            return None  # it has no ONNX file
        if manifest.web is not None:
            from attnc.compiler.cli.bisecting_web import program_differs

            other = program_differs(self.bundle, semantic)
            if other:
                return self._found("lowering", f"{other} is not what the source gives", other)
        self.progress.stage("the bundle's graph against the passes' result")
        held = ir.load(self.bundle.model_path)
        limit = LOWERED_LIMITS.get(manifest.precision, 1e-2)
        place = first_difference(semantic, held, given.feed, limit)
        if place is None:
            self.looked.append("lowering")
            return None
        weight = changed_weight(self.bundle, semantic, held)
        if weight is not None:
            changed, node = weight
            place = Place.at(node, place.error or float("inf"), limit)
            return self._found(
                "weights", f"other weights than the source's: {changed}", changed, place
            )
        return self._found("lowering", "the lowered graph computes something else", place=place)

    def _kernels(self, given: Traced) -> Finding | None:
        from attnc.compiler.cli.bisecting_targets import first_wrong

        self.progress.stage("every node on the inputs that reach it")
        looked, place = first_wrong(self.bundle, given, self.library)
        if place is None:
            self.looked.append(looked)
            return None
        return self._found("kernels", "a kernel computes something else", place.operator, place)


def changed_weight(
    bundle: Bundle, semantic: ir.Model, held: ir.Model
) -> tuple[str, ir.Node] | None:
    """The first initializer that lowering the source again makes otherwise, and its reader; None
    if all are equal, or the bundle cannot be lowered again."""
    from attnc.compiler.cli.bisecting_targets import lowered_again

    again = lowered_again(bundle, semantic)
    if again is None:
        return None
    mine = {name: value.const_value for name, value in again.graph.initializers.items()}
    for node in held.graph:
        for value in node.inputs:
            tensor = None if value is None else value.const_value
            other = None if value is None else mine.get(str(value.name))
            if tensor is None or other is None:
                continue
            if tensor.numpy().tobytes() != other.numpy().tobytes():
                return str(tensor.name), node
    return None
