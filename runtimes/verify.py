"""Is the bundle right: against the recorded outputs and, where it can be rebuilt, the source.

Every input runs twice: with the kernels, and on the function bodies in a session that has never
heard of attnc. Operators that choose are checked once more, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError
from attnc.compiler.progress import SILENT, Progress
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.attnc_runner import AttncRunner
from attnc.runtimes.checks import Check, Report, parity_check, top1_check
from attnc.runtimes.choices import choice_check
from attnc.runtimes.compare import compare
from attnc.runtimes.formats import format_checks
from attnc.runtimes.kernels_here import Kernels, kernels_here
from attnc.runtimes.ort_parity import ort_format_check
from attnc.runtimes.photos import NONE_HERE, find_photos
from attnc.runtimes.preprocess import load_picture, preprocess
from attnc.runtimes.proof.outputs import Measured
from attnc.runtimes.runner import Runner
from attnc.runtimes.tolerance import Tolerance, tolerance_of

Array = NDArray[np.float32]
Reference = Callable[[Array], Array]
DYNAMIC_BATCHES = (1, 3, 8)
LIVE_SEEDS = (11, 12)


@dataclass(frozen=True)
class Case:
    """An input with the output that is expected; photographs are also checked for top-1."""

    name: str
    array: Array
    expected: Array
    photo: bool = False


def verify(
    bundle: Bundle,
    rebuild: Callable[[], Reference],
    images: Path | None = None,
    progress: Progress = SILENT,
) -> Report:
    """Check an opened bundle; `rebuild` gives the source model or raises AttncError.

    Raises UsageError if `images` holds no pictures; what fails or cannot run is in the report.
    """
    report = Report()
    recorded = list(recorded_cases(bundle))
    reference = rebuilt(rebuild, report, progress)
    live = live_cases(bundle, reference, images, report)
    tolerance = tolerance_for(bundle, reference, recorded, live)
    cases = [*recorded, *live]
    kernels, said = kernels_here(bundle)
    report.checks += said
    library = None if kernels is None else kernels.library
    for mode, runner in _modes(bundle, kernels):
        progress.stage(f"parity on the {mode}", len(cases))
        report.checks += _run_cases(mode, runner, cases, tolerance, report.outputs, progress)
        if cases and tolerance.discontinuous and not mode.startswith("engine"):
            name = f"choices/{cases[0].name}/{mode}"
            given = cases[0].array
            check = choice_check(bundle, name, given, kernels=mode != "bodies", library=library)
            report.checks += [check] if check else []
    entry = bundle.manifest.ort_format
    if entry is not None and recorded:
        progress.stage("the same in ORT format")
        inputs = [case.array for case in recorded]
        report.checks.append(ort_format_check(bundle, entry, library, inputs, tolerance))
    if bundle.manifest.formats:
        progress.stage("the other formats")

        def run(mode: str, runner: Runner) -> list[Check]:
            return _run_cases(mode, runner, cases, tolerance, report.outputs, progress)

        report.checks += format_checks(bundle, run)
    return report


def rebuilt(
    rebuild: Callable[[], Reference], report: Report, progress: Progress
) -> Reference | None:
    """The source model; None, and the reason in the report, if it is not to be had."""
    progress.stage("rebuilding the source model")
    try:
        return rebuild()
    except AttncError as error:
        reason = f"the source is not rebuilt: {error.message}"
        report.checks.append(Check("source", "not-verified", reason=reason))
        return None


def tolerance_for(
    bundle: Bundle, reference: Reference | None, recorded: list[Case], live: list[Case]
) -> Tolerance:
    """How far float32 outputs may be from the source; see `tolerance`."""
    pairs = [(case.array, case.expected) for case in recorded]
    return tolerance_of(bundle, reference, pairs, [case.array for case in live])


def _modes(bundle: Bundle, kernels: Kernels | None) -> Iterator[tuple[str, Runner]]:
    """Active runners: the kernels where this machine can load them, and the bodies.

    Of a web bundle both builds of the engine, and its standard operators.
    """
    if bundle.manifest.web is not None:
        from attnc.runtimes.web.runner import BUILDS, WebRunner

        for build in BUILDS:
            with WebRunner(bundle, build) as runner:
                yield f"engine-{build}", runner
    if kernels is not None:
        with AttncRunner(bundle, library=kernels.library) as runner:
            yield kernels.mode, runner
    with AttncRunner(bundle, kernels=False) as runner:
        yield "bodies", runner


def _run_cases(
    mode: str,
    runner: Runner,
    cases: list[Case],
    tolerance: Tolerance,
    measured: list[Measured],
    progress: Progress,
) -> list[Check]:
    checks = []
    name, result = runner.inputs[0].name, runner.outputs[0].name
    for case in cases:
        output = runner.infer({name: case.array})[result]
        distance = compare(output, case.expected)
        measured.append(Measured.of(result, case.name, mode, output, case.expected))
        limit = tolerance.limit(case.expected)
        checks.append(
            parity_check(f"parity/{case.name}/{mode}", distance, limit, note=tolerance.note)
        )
        if case.photo:
            near = closest_classes(case.expected) <= limit and tolerance.discontinuous
            checks.append(top1_check(f"top1/{case.name}/{mode}", distance, near_tie=near))
        progress.advance()
    return checks


def closest_classes(logits: Array) -> float:
    """The smallest lead of a row's largest logit, relative to the largest of all."""
    ranked = np.sort(logits, axis=-1)
    lead = float((ranked[..., -1] - ranked[..., -2]).min()) if logits.shape[-1] > 1 else np.inf
    return lead / (float(np.abs(logits).max()) or 1.0)


def recorded_cases(bundle: Bundle) -> Iterator[Case]:
    """The inputs whose outputs were recorded at export."""
    for record in bundle.manifest.reference:
        expected = np.load(bundle.path / record.path, allow_pickle=False)
        yield Case(
            f"recorded-seed{record.seed}", seeded_input(record.input_shape, record.seed), expected
        )


def live_cases(
    bundle: Bundle, reference: Reference | None, images: Path | None, report: Report
) -> list[Case]:
    """Seeded inputs and photographs with what the source gives now; says what is not there."""
    photos = find_photos(images)
    if reference is None:
        report.checks.append(
            Check("photographs", "not-verified", reason="the source model is not here to compare")
        )
        return []
    cases = []
    for seed in LIVE_SEEDS:
        for batch in _batches(bundle):
            array = seeded_input((batch, *_picture_shape(bundle)), seed)
            cases.append(Case(f"source-seed{seed}-batch{batch}", array, reference(array)))
    rule = bundle.manifest.preprocessing
    if rule is None or not photos:
        reason = NONE_HERE if rule else "the bundle has no preprocessing rule"
        report.checks.append(Check("photographs", "not-verified", reason=reason))
        return cases
    for photo in photos:
        array = np.repeat(preprocess(load_picture(photo), rule), _batches(bundle)[0], axis=0)
        cases.append(Case(f"photo-{photo.stem}", array, reference(array), photo=True))
    return cases


def _batches(bundle: Bundle) -> tuple[int, ...]:
    batch = bundle.manifest.batch
    return DYNAMIC_BATCHES if batch == "dynamic" else (batch,)


def _picture_shape(bundle: Bundle) -> tuple[int, ...]:
    sizes: tuple[Any, ...] = bundle.manifest.inputs[0].shape[1:]
    return tuple(int(size) for size in sizes)
