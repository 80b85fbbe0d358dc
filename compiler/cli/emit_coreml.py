"""Core ML's side of an export: the package, what it is made of, and what leaves the Neural Engine.

Ranges for float16 are recorded by the evaluator, on seeded pictures and on photographs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.cli.emitting import Emitted, Labels
from attnc.compiler.coreml_batches import BATCHES
from attnc.compiler.coremltools import import_coremltools
from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import CoremlEntry, Manifest, Preprocessing, TensorSpec
from attnc.compiler.progress import Progress
from attnc.compiler.seeded_input import normalise, seeded_input, seeded_pixels
from attnc.targets.coreml.emit import Wish, check_precision, device_of, emit, lower_for
from attnc.targets.coreml.package import PACKAGE, edit
from attnc.targets.coreml.precision import Readings

if TYPE_CHECKING:
    import onnx_ir as ir

    from attnc.compiler.trace.traced import TracedModel
    from attnc.runtimes.coreml.package import Package
    from attnc.targets.profile import Profile

#: Ranges are recorded on these seeded inputs.
RANGE_SEEDS = (21, 22)
#: Types of ports as manifests name them.
TYPES = {"fp16": "float16", "fp32": "float32"}


class CoremlEmitter:
    """See `Emitter`."""

    stage = "lowering for Core ML"

    def __init__(self, profile: Profile, precision: str, metadata: Mapping[str, str]) -> None:
        self.device = device_of(profile)
        check_precision(precision, self.device.ios)
        check_metadata(metadata)
        import_coremltools()
        self.profile, self.precision, self.metadata = profile, precision, metadata

    def refusals(self, model: ir.Model) -> Sequence[Any]:
        """See `Emitter`: operators without a form raise UnsupportedError, none is left."""
        lower_for(model, self.device.ios, Wish("fp32"), lambda path: {})
        return ()

    def emit(
        self, traced: TracedModel, folder: Path, progress: Progress, labels: Labels = None
    ) -> Emitted:
        """Write the package, and say of which operations it is made."""
        from attnc.runtimes.coreml.package import open_package
        from attnc.runtimes.coreml.placement import counts, lint

        check_labels(labels)
        rule = traced.preprocessing if takes_pictures(traced) else None
        wish = Wish(self.precision, rule, labels)
        shape = tuple(size if isinstance(size, int) else BATCHES[0] for size in traced.input.shape)
        record = Recorder(shape, rule)
        emission = emit(traced.model, self.profile, folder, wish, record)
        opened = open_package(folder / PACKAGE)
        entry = CoremlEntry(
            package=PACKAGE,
            ios=self.device.ios,
            specification_version=emission.specification_version,
            input="tensor" if rule is None else "image",
            classifier=labels is not None,
            operations=emission.operations,
            placement=counts(lint(opened, {})),
            weight_bytes=sum(
                file.stat().st_size for file in (folder / PACKAGE).rglob("*.bin") if file.is_file()
            ),
        )
        fields = {
            "precision": self.precision,
            "coreml": entry,
            "float32_regions": emission.float32_regions,
            **ports(traced, opened),
        }
        make = seeded_input if rule is None else partial(_normal_pixels, rule)
        return Emitted(fields, reference_input=make, finish=self._finish)

    def _finish(self, folder: Path, manifest: Manifest) -> None:
        """Metadata of the package: the caller's, the resize rule, and the manifest's hash."""
        known = {
            "description": f"{manifest.model}, made by attnc",
            "version": manifest.built_with.get("attnc", ""),
            "attnc.model": manifest.model,
            "attnc.weights": manifest.source.weights_sha256 or "",
            "attnc.manifest": manifest.contents_digest(),
        }
        if manifest.preprocessing is not None:
            known["attnc.preprocessing"] = resize_rule(manifest.preprocessing)
        edit(folder / PACKAGE, {**known, **self.metadata})


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raise UsageError for keys that attnc itself writes."""
    for key in metadata:
        if key.startswith("attnc."):
            raise UsageError(
                f"--metadata {key!r} is written by attnc itself",
                remedy="take a key that does not begin with `attnc.`",
            )


def check_labels(labels: Labels) -> None:
    """Raise UsageError for a name that is given twice."""
    twice = [name for name, count in Counter(labels or ()).items() if count > 1]
    if twice:
        raise UsageError(
            f"two classes have the label {twice[0]!r}; Core ML gives one probability for each name",
            remedy="tell them apart, as in `crane (bird)` and `crane (machine)`",
        )


def ports(traced: TracedModel, package: Package) -> dict[str, tuple[TensorSpec, ...]]:
    """Input and logits as the package names them: its names have letters, digits and _ only."""
    logits = [feature for feature in package.outputs if feature.kind == "tensor"][-1]
    pairs = ((traced.input, package.inputs[0]), (traced.outputs[0], logits))
    given, made = (
        spec.model_copy(update={"name": port.name, "dtype": TYPES.get(port.dtype, spec.dtype)})
        for spec, port in pairs
    )
    return {"inputs": (given,), "outputs": (made,)}


def takes_pictures(traced: TracedModel) -> bool:
    """Whether the program can take a picture: one, in RGB, with a known preprocessing."""
    batch, channels, *_ = traced.input.shape
    return traced.preprocessing is not None and (batch, channels) == (1, 3)


def resize_rule(rule: Preprocessing) -> str:
    """What the caller does with a picture before the program sees it."""
    height, width = rule.image_size
    tall, broad = (round(size / rule.crop_fraction) for size in rule.image_size)
    return (
        f"scale the picture ({rule.interpolation}) so that it covers {broad} x {tall} pixels, "
        f"cut the middle {width} x {height} out, RGB; colours are normalised inside"
    )


def _normal_pixels(rule: Preprocessing, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return normalise(seeded_pixels(shape, seed), rule)


@dataclass(frozen=True)
class Recorder:
    """Readings of a saved float32 package, on seeded inputs and, of pictures, photographs."""

    shape: tuple[int, ...]
    rule: Preprocessing | None

    def __call__(self, package: Path) -> Readings:
        from attnc.runtimes.coreml.ranges import record_ranges
        from attnc.runtimes.photos import find_photos
        from attnc.runtimes.preprocess import fit, load_picture, pixels_of

        if self.rule is None:
            return record_ranges(package, [seeded_input(self.shape, s) for s in RANGE_SEEDS])
        inputs = [seeded_pixels(self.shape, seed).astype(np.float32) for seed in RANGE_SEEDS]
        for photo in find_photos():
            picture = fit(load_picture(photo), self.rule)
            inputs.append(pixels_of(picture).astype(np.float32))
        return record_ranges(package, inputs)
