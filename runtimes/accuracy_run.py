"""Runs a bundle and its source over a dataset, with whatever runs the bundle on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, UnsupportedError, UsageError
from attnc.compiler.manifest import Preprocessing
from attnc.compiler.progress import SILENT, Progress
from attnc.compiler.seeded_input import normalise
from attnc.runtimes.accuracy import Accuracy, answers, compared
from attnc.runtimes.dataset import Dataset, Sample
from attnc.runtimes.limits import limits_of
from attnc.runtimes.preprocess import fit, pixels_of
from attnc.runtimes.runner import Runner

Array = NDArray[Any]
Reference = Callable[[NDArray[np.float32]], Array]
#: So many pictures are prepared at once.
TOGETHER = 32
#: From inputs, arrays or pictures, to their logits.
Run = Callable[[Any], Array]


@dataclass(frozen=True)
class Batch:
    """Prepared pictures, as RGB pictures and as the normalised array [N, 3, H, W]."""

    pictures: tuple[Any, ...]
    array: NDArray[np.float32]


@dataclass(frozen=True)
class Engine:
    """What runs a bundle: `mode` is its name in the report, `run` takes `size` inputs at once (any
    number where None)."""

    mode: str
    run: Run
    size: int | None
    takes_pictures: bool = False

    def logits(self, batch: Batch) -> Array:
        """Of all pictures; the last input is repeated where too few are left."""
        if self.takes_pictures:
            return np.concatenate([self.run(picture) for picture in batch.pictures])
        return in_parts(self.run, batch.array, self.size)


def in_parts(run: Run, array: NDArray[np.float32], size: int | None) -> Array:
    """Logits of all rows, `size` at a time; the last one is repeated where too few are left."""
    if size is None:
        return run(array)
    found = []
    for begin in range(0, len(array), size):
        part = array[begin : begin + size]
        lacking = size - len(part)
        filled = np.concatenate([part, np.repeat(part[-1:], lacking, axis=0)]) if lacking else part
        found.append(run(filled)[: len(part)])
    return np.concatenate(found)


def measure_accuracy(
    bundle: Bundle,
    rebuild: Callable[[], Reference],
    dataset: Dataset,
    progress: Progress = SILENT,
) -> Accuracy:
    """The first and the first five classes of both on every picture of `dataset`.

    `rebuild` gives the source model or raises AttncError. Raises UsageError if the dataset does not
    fit the bundle, UnsupportedError if the bundle does not say how pictures are prepared,
    MissingRuntimeError if nothing here runs it.
    """
    rule, note = rule_of(bundle), check_classes(bundle, dataset)
    labels = np.array([sample.label for sample in dataset.samples], np.int64)
    try:
        source = rebuild()
    except AttncError as error:
        source, note = None, "; ".join(filter(None, (note, f"no source: {error.message}")))
    ours, theirs = [], []
    with bundle_engine(bundle) as engine:
        progress.stage(f"accuracy on {dataset.name}, {engine.mode}", len(labels))
        for batch in batches(dataset.samples, rule):
            ours.append(engine.logits(batch))
            if source is not None:
                theirs.append(in_parts(source, batch.array, _source_size(bundle)))
            progress.advance(len(batch.array))
    found = answers(theirs, labels) if source is not None else None
    precision = bundle.manifest.precision
    limit = limits_of(bundle).drop
    return compared(dataset.name, engine.mode, precision, answers(ours, labels), found, note, limit)


def _size(bundle: Bundle) -> int | None:
    """How many pictures the bundle takes at once."""
    return bundle.manifest.batch if isinstance(bundle.manifest.batch, int) else None


def _source_size(bundle: Bundle) -> int | None:
    """How many pictures the source takes at once; networks of the registry take any number."""
    return None if bundle.manifest.source.kind == "registry" else _size(bundle)


def rule_of(bundle: Bundle) -> Preprocessing:
    """How pictures are prepared. Raises UnsupportedError if the bundle does not say."""
    rule = bundle.manifest.preprocessing
    if rule is None:
        raise UnsupportedError(
            "the bundle does not say how pictures are prepared: its source did not",
            where=str(bundle.path),
            remedy="export from a listed model, or a factory whose module has attnc_config",
        )
    return rule


def check_classes(bundle: Bundle, dataset: Dataset) -> str:
    """What has to be said of how classes are matched, mostly nothing.

    Raises UsageError if the dataset has classes that the bundle cannot answer.
    """
    outputs = bundle.manifest.outputs[0].shape[-1]
    count = len(dataset.classes)
    if isinstance(outputs, int) and count > outputs:
        raise UsageError(
            f"{dataset.name} has {count} classes, the bundle's model {outputs}",
            where=str(bundle.path),
            remedy="measure a model that was made for these classes",
        )
    if bundle.labels is None and count != outputs:
        return (
            f"the bundle has {outputs} classes and no labels: {count} folders, sorted, were taken "
            f"for classes 0 to {count - 1}"
        )
    return ""


def batches(samples: tuple[Sample, ...], rule: Preprocessing) -> Iterator[Batch]:
    """All pictures in order, prepared."""
    for begin in range(0, len(samples), TOGETHER):
        fitted = [fit(sample.open(), rule) for sample in samples[begin : begin + TOGETHER]]
        pixels = np.concatenate([pixels_of(picture) for picture in fitted])
        yield Batch(tuple(fitted), normalise(pixels, rule))


@contextmanager
def bundle_engine(bundle: Bundle) -> Iterator[Engine]:
    """What runs the bundle here: the kernels where this machine can load them, or its own in their
    place; the bodies in ONNX Runtime without any, bfloat16 in float32; the engine for the
    web; for Core ML the evaluator of its program. Raises MissingRuntimeError without it.
    """
    if bundle.manifest.coreml is not None:
        yield _evaluator(bundle)
        return
    if bundle.manifest.precision == "bf16":
        yield _float32_bodies(bundle)
        return
    mode, runner = _runner(bundle)
    name, logits = runner.inputs[0].name, runner.outputs[0].name
    with runner:
        yield Engine(mode, lambda array: runner.infer({name: array})[logits], _size(bundle))


def _runner(bundle: Bundle) -> tuple[str, Runner]:
    from attnc.runtimes.attnc_runner import AttncRunner
    from attnc.runtimes.kernels_here import kernels_here
    from attnc.runtimes.web.runner import BUILDS, WebRunner

    if bundle.manifest.web is not None:
        return f"engine-{BUILDS[0]}", WebRunner(bundle)
    kernels, _ = kernels_here(bundle)
    if kernels is None:
        return "bodies", AttncRunner(bundle, kernels=False)
    return kernels.mode, AttncRunner(bundle, library=kernels.library)


def _float32_bodies(bundle: Bundle) -> Engine:
    """ONNX Runtime has no bfloat16 on processors: float32, with weights as bfloat16 has them."""
    from attnc.runtimes.tensorrt.parity import runner

    return Engine("bodies-float32", runner(bundle.model_path, "bf16"), _size(bundle))


def _evaluator(bundle: Bundle) -> Engine:
    from attnc.runtimes.coreml.cases import takes_pictures
    from attnc.runtimes.coreml.evaluator import Evaluator
    from attnc.runtimes.coreml.judging import evaluate
    from attnc.runtimes.coreml.package import open_package

    entry = bundle.manifest.coreml
    assert entry is not None
    package = open_package(bundle.path / entry.package)
    evaluator = Evaluator(package)
    allowed, pictures = package.inputs[0].allowed, takes_pictures(bundle.manifest)
    size = allowed[0][0] if allowed else _size(bundle)
    return Engine("evaluator", lambda given: evaluate(evaluator, given), size, pictures)
