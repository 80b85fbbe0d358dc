"""The Swift package of a Core ML bundle: the model, an API to call it, tests, and a sample app."""

from __future__ import annotations

import shutil
from pathlib import Path

from attnc.compiler.bundle import LABELS_FILE, Bundle
from attnc.compiler.coreml_readme import MACOS
from attnc.compiler.errors import UnsupportedError
from attnc.compiler.manifest import CoremlEntry, Manifest, Preprocessing
from attnc.compiler.progress import Progress
from attnc.tools.packaging.names import module_name
from attnc.tools.packaging.references import write_references
from attnc.tools.packaging.rendering import render_tree

#: The oldest iOS with what the API and the sample are written in (`Duration`, `PhotosPicker`).
OLDEST_IOS = 16
MODEL = "model.mlpackage"


def write(bundle: Bundle, folder: Path, progress: Progress) -> str:
    """See `Writer`."""
    entry, rule = _needed(bundle)
    name = module_name(bundle.manifest.model)
    render_tree("swiftpm", folder, name, values(bundle.manifest, entry, rule, bundle.labels))
    resources = folder / "Sources" / name / "Resources"
    resources.mkdir()
    shutil.copytree(bundle.path / entry.package, resources / MODEL)
    if bundle.labels is not None:
        shutil.copyfile(bundle.path / LABELS_FILE, resources / LABELS_FILE)
    progress.stage("evaluating the reference picture")
    _write_references(bundle, entry, rule, folder / "Tests" / f"{name}Tests" / "References")
    return name


def values(
    manifest: Manifest, entry: CoremlEntry, rule: Preprocessing, labels: list[str] | None
) -> dict[str, object]:
    """What the templates say of the bundle."""
    ios = max(entry.ios, OLDEST_IOS)
    height, width = rule.image_size
    return {
        "model": manifest.model,
        "digest": manifest.digest,
        "attnc": manifest.built_with.get("attnc", ""),
        "precision": manifest.precision,
        "seeded": manifest.source.checkpoint_sha256 is None and manifest.source.seed is not None,
        "ios": ios,
        "macos": MACOS[ios],
        "input": manifest.inputs[0].name,
        "output": manifest.outputs[0].name,
        "classes": manifest.outputs[0].shape[-1],
        "labelled": labels is not None,
        "width": width,
        "height": height,
        "crop_fraction": rule.crop_fraction,
        "interpolation": rule.interpolation,
        "megabytes": f"{entry.weight_bytes / 1e6:.1f}",
    }


def _needed(bundle: Bundle) -> tuple[CoremlEntry, Preprocessing]:
    """What is known of the program and its pictures; UnsupportedError if it takes none."""
    entry, rule = bundle.manifest.coreml, bundle.manifest.preprocessing
    if entry is None or rule is None or entry.input != "image":
        raise UnsupportedError(
            "the program takes an array; a Swift package is for one that takes a picture",
            where=str(bundle.path),
            remedy="export a model whose preprocessing is known, with --batch 1",
        )
    return entry, rule


def _write_references(
    bundle: Bundle, entry: CoremlEntry, rule: Preprocessing, folder: Path
) -> None:
    from attnc.runtimes.coreml.evaluator import Evaluator
    from attnc.runtimes.coreml.judging import evaluate
    from attnc.runtimes.coreml.package import open_package
    from attnc.runtimes.limits import table_limits

    evaluator = Evaluator(open_package(bundle.path / entry.package))
    write_references(
        folder,
        rule,
        lambda picture: evaluate(evaluator, picture)[0],
        table_limits("coreml", "fp16").relative,
    )
