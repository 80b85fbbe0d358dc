"""The Gradle project of an Android bundle: the model, its kernels, an API, tests and a sample."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.android_readme import PACKAGED_LIBRARY
from attnc.compiler.bundle import LABELS_FILE, Bundle
from attnc.compiler.errors import UnsupportedError
from attnc.compiler.manifest import Manifest, Preprocessing
from attnc.compiler.progress import Progress
from attnc.compiler.seeded_input import normalise
from attnc.tools.packaging.android_cases import case_lines
from attnc.tools.packaging.names import java_package, module_name
from attnc.tools.packaging.references import Classify, write_references
from attnc.tools.packaging.rendering import render_tree

#: The oldest Android with colour spaces, and the one that the sample is compiled for.
MIN_SDK, COMPILE_SDK = 26, 35
KERNELS_FOR = "android-aarch64"
MAIN = Path("library", "src", "main")
#: The share of the largest logit that a phone's may differ by: by precision where not float32.
LIMIT, LIMITS = 1e-3, {"fp16w": 1e-2, "fp16": 1e-2, "int8": 1e-1}


def write(bundle: Bundle, folder: Path, progress: Progress) -> str:
    """See `Writer`."""
    rule, kernels = _needed(bundle)
    name = java_package(bundle.manifest.model)
    cases = case_lines()
    told = values(bundle, rule, kernels) | {"cases": len(cases)}
    render_tree("android", folder, name, told)
    assets = folder / MAIN / "assets" / name
    assets.mkdir(parents=True)
    model = model_file(bundle)
    shutil.copyfile(model, assets / model.name)
    if bundle.labels is not None:
        shutil.copyfile(bundle.path / LABELS_FILE, assets / LABELS_FILE)
    if kernels is not None:
        libraries = folder / MAIN / "jniLibs" / "arm64-v8a"
        libraries.mkdir(parents=True)
        shutil.copyfile(kernels, libraries / PACKAGED_LIBRARY)
    resources = folder / "library" / "src" / "test" / "resources"
    resources.mkdir()
    (resources / "cases.txt").write_text("".join(f"{line}\n" for line in cases), encoding="ascii")
    progress.stage("evaluating the reference picture")
    references = folder / "library" / "src" / "androidTest" / "assets" / "references"
    references.parent.mkdir()
    with _standard_operators(bundle, rule) as classify:
        limit = LIMITS.get(bundle.manifest.precision, LIMIT)
        write_references(references, rule, classify, limit)
    return f"attnc.{name}"


def model_file(bundle: Bundle) -> Path:
    """The model in ORT format if the bundle has it, which opens without being optimised again."""
    entry = bundle.manifest.ort_format
    return bundle.model_path if entry is None else bundle.path / entry.model


def values(bundle: Bundle, rule: Preprocessing, kernels: Path | None) -> dict[str, object]:
    """What the templates say of the bundle."""
    manifest, model = bundle.manifest, model_file(bundle)
    name = java_package(manifest.model)
    height, width = rule.image_size
    return {
        "title": module_name(manifest.model),
        "model": manifest.model,
        "model_asset": f"{name}/{model.name}",
        "labels_asset": f"{name}/{LABELS_FILE}",
        "digest": manifest.digest,
        "attnc": manifest.built_with.get("attnc", ""),
        "precision": manifest.precision,
        "seeded": manifest.source.checkpoint_sha256 is None and manifest.source.seed is not None,
        "min_sdk": MIN_SDK,
        "compile_sdk": COMPILE_SDK,
        "onnxruntime": _runtime(manifest),
        "kernels": kernels is not None,
        "library": PACKAGED_LIBRARY,
        "input": manifest.inputs[0].name,
        "output": manifest.outputs[0].name,
        "classes": manifest.outputs[0].shape[-1],
        "labelled": bundle.labels is not None,
        "width": width,
        "height": height,
        "crop_fraction": float(rule.crop_fraction),
        "interpolation": rule.interpolation,
        "mean": _floats(rule.mean),
        "deviation": _floats(rule.std),
        "megabytes": f"{model.stat().st_size / 1e6:.1f}",
    }


def _runtime(manifest: Manifest) -> str:
    """The version that wrote the model in ORT format, else the one installed here."""
    if manifest.ort_format is not None:
        return manifest.ort_format.converter
    from attnc.runtimes.onnx_session import import_onnxruntime

    return str(import_onnxruntime().__version__)


def _floats(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number!r}f" for number in map(float, numbers))


def _needed(bundle: Bundle) -> tuple[Preprocessing, Path | None]:
    """The rule for pictures and the kernel library; None for a bundle of standard operators.

    Raises UnsupportedError if the bundle takes no picture, or needs kernels that it lacks.
    """
    manifest, rule = bundle.manifest, bundle.manifest.preprocessing
    if rule is None or manifest.batch not in (1, "dynamic"):
        raise UnsupportedError(
            "the bundle takes arrays; an Android package is for a model that takes a picture",
            where=str(bundle.path),
            remedy="export a model whose preprocessing is known, with --batch 1",
        )
    found = [library for library in manifest.kernels if library.target == KERNELS_FOR]
    if manifest.kernels and not found:
        raise UnsupportedError(
            f"the bundle's kernels are for {manifest.kernels[0].target}, not for {KERNELS_FOR}",
            where=str(bundle.path),
            remedy="export it again with --target android",
        )
    return rule, bundle.path / found[0].path if found else None


@contextmanager
def _standard_operators(bundle: Bundle, rule: Preprocessing) -> Iterator[Classify]:
    """Logits by the bodies of the operators, which run here."""
    from attnc.runtimes.attnc_runner import AttncRunner
    from attnc.runtimes.preprocess import pixels_of

    with AttncRunner(bundle, 1, kernels=False) as runner:
        source, result = runner.inputs[0].name, runner.outputs[0].name

        def classify(picture: object) -> NDArray[np.float32]:
            feed = {source: normalise(pixels_of(picture), rule)}
            logits: NDArray[np.float32] = runner.run(feed)[result][0]
            return logits

        yield classify
