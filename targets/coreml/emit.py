"""Lower a graph for a Core ML profile and write the package."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir

from attnc.compiler.coreml_batches import BATCHES
from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.manifest import Place, Preprocessing
from attnc.targets.coreml.batch import free_name, sizes_of
from attnc.targets.coreml.checks import check_model
from attnc.targets.coreml.compress import COMPRESSIONS, check_compression
from attnc.targets.coreml.lower import Lowered, Options, lower, prepare
from attnc.targets.coreml.package import Features, convert, save
from attnc.targets.coreml.pictures import build_in
from attnc.targets.coreml.precision import Readings, islands
from attnc.targets.coreml.writer import FREE
from attnc.targets.profile import CoremlDevice, Profile

PRECISIONS = ("fp16", "fp32", *COMPRESSIONS)
ORIGINS = "origins.json"
#: What the operations of a saved float32 package give and take.
Record = Callable[[Path], Readings]


@dataclass(frozen=True)
class Emission:
    """What was written: operations by kind, and those that stayed float32."""

    operations: dict[str, int]
    float32_regions: tuple[Place, ...]
    specification_version: int


@dataclass(frozen=True)
class Wish:
    """`picture`: the rule of the pictures that come in, None for a tensor; `labels`: the names of
    a classifier's classes."""

    precision: str = "fp16"
    picture: Preprocessing | None = None
    labels: Sequence[str] | None = None


def device_of(profile: Profile) -> CoremlDevice:
    """The profile's Core ML part. Raises UsageError if it has none."""
    if profile.coreml is None:
        raise UsageError(
            f"profile {profile.name} has no [coreml] table",
            remedy="take one of `attnc list profiles`, or add the table to the .toml file",
        )
    return profile.coreml


def check_precision(precision: str, ios: int) -> None:
    """Raise UsageError for an unknown precision, UnsupportedError for one that this iOS lacks,
    and MissingRuntimeError where what it needs is not installed."""
    if precision not in PRECISIONS:
        raise UsageError(
            f"Core ML has no precision {precision!r}", remedy=f"one of: {', '.join(PRECISIONS)}"
        )
    check_compression(precision, ios)


def emit(model: ir.Model, profile: Profile, folder: Path, wish: Wish, record: Record) -> Emission:
    """Lower the model in place and write the package and the origins of its operations.

    `record` reads off a float32 package what float16 must hold. Raises UnsupportedError for what
    Core ML cannot express.
    """
    ios = device_of(profile).ios
    lowered = lower_for(model, ios, wish, record)
    features = features_of(model, wish)
    made = convert(lowered.program, ios, features, wish.precision)
    save(made, folder)
    operations = made._mil_program.functions["main"].operations
    names = {operation.name for operation in operations}
    origins = {name: asdict(found) for name, found in lowered.origins.items() if name in names}
    text = json.dumps(origins, indent=1, sort_keys=True) + "\n"
    (folder / ORIGINS).write_text(text, encoding="utf-8")
    kinds = Counter(str(operation.op_type) for operation in operations)
    return Emission(
        {kind: kinds[kind] for kind in sorted(kinds) if kind != "const"},
        tuple(_place(lowered, name) for name in sorted(lowered.wide) if name in names),
        int(made.get_spec().specificationVersion),
    )


def lower_for(model: ir.Model, ios: int, wish: Wish, record: Record) -> Lowered:
    """The program in the precision's arithmetic; the model is prepared in place."""
    check_model(model)
    _check_wish(model, wish)
    if wish.picture is not None:
        build_in(model, wish.picture)
    prepare(model, ios)
    check_model(model)
    classifier = wish.labels is not None
    picture = wish.picture is not None
    wide = Options(ios, picture=picture, classifier=classifier)
    if wish.precision == "fp32":
        return lower(model, wide)
    with TemporaryDirectory(prefix="attnc-coreml-") as folder:
        features = replace(features_of(model, wish), labels=None)
        plain = lower(model, Options(ios, picture=picture))
        kept = islands(record(save(convert(plain.program, ios, features), Path(folder))))
    return lower(model, Options(ios, True, kept, picture, classifier))


def _check_wish(model: ir.Model, wish: Wish) -> None:
    """Raise UnsupportedError for what takes one input at a time, of a model with a free batch."""
    if free_name(model) is not None and (wish.picture, wish.labels) != (None, None):
        raise UnsupportedError(
            "pictures come in, and labels come out, one at a time; the batch of this model is free",
            remedy="export with --batch 1",
        )


def features_of(model: ir.Model, wish: Wish) -> Features:
    """What comes in: a picture, a tensor, or a tensor of several batches."""
    free = free_name(model)
    if free is None and wish.picture is None:
        return Features(labels=wish.labels)
    (value,) = model.graph.inputs
    batch, *rest = (size or 0 for size in sizes_of(value, free) or ())
    if batch == FREE:
        return Features(labels=wish.labels, shapes=[(count, *rest) for count in BATCHES])
    return Features((batch, *rest), wish.labels)


def _place(lowered: Lowered, name: str) -> Place:
    origin = lowered.origins.get(name)
    module, source = (origin.module, origin.source) if origin else ("", "")
    return Place(node=name, module=module, source=source, reason=lowered.wide[name])
