"""A Core ML bundle's program, evaluated: the first block of the source that it does not compute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnc.compiler.bundle import Bundle

if TYPE_CHECKING:
    from attnc.runtimes.proof.values import Place

#: Least cosine of the outputs below which a program is wrong and its blocks are looked at.
LEAST = 0.99


def first_wrong_block(bundle: Bundle) -> Place | None:
    """The first block whose output none of the program's values is; None if the outputs are right.

    Blocks that a fusion reached over are not found either, so they are only looked at where the
    outputs are wrong.
    """
    from attnc.compiler.source import rebuild
    from attnc.runtimes.compare import compare
    from attnc.runtimes.coreml.cases import recorded_cases
    from attnc.runtimes.coreml.evaluator import Evaluator
    from attnc.runtimes.coreml.judging import STAGE_COSINE, evaluate
    from attnc.runtimes.coreml.origins import FILE_NAME, read_origins
    from attnc.runtimes.coreml.package import open_package
    from attnc.runtimes.coreml.stages import Stages, stage_outputs
    from attnc.runtimes.limits import limits_of
    from attnc.runtimes.proof.values import Place

    entry = bundle.manifest.coreml
    source = rebuild(bundle)
    if entry is None or isinstance(source, Path):
        return None
    case = next(iter(recorded_cases(bundle)))
    watched = Stages(stage_outputs(source, case.array), read_origins(bundle.path / FILE_NAME))
    evaluator = Evaluator(open_package(bundle.path / entry.package))
    found = compare(evaluate(evaluator, case.given, watched), case.expected)
    if found.cosine >= min(LEAST, limits_of(bundle).cosine or LEAST):
        return None
    for stage in watched.compared():
        metrics = stage.metrics
        if metrics is None or not metrics.cosine >= STAGE_COSINE:
            error = float("inf") if metrics is None else metrics.max_relative
            return Place.named(stage.module, error, 1 - STAGE_COSINE)
    return Place.named("the head", found.relative, 1 - STAGE_COSINE)
