"""The five small variants on held-out digits, on every target and in every precision that it has.

This is the accuracy gate of the default run: each network is traced once, what a target emits is
measured on the digits by whatever runs it here, and nothing is built for a device. The slow test
of `test_nanos.py` verifies whole exports, with all pictures, in float32 and Core ML's float16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import attnc
from attnc.compiler.cli import api, emit_tensorrt, tensorrt_work
from attnc.compiler.cli.emitting import emitter_of
from attnc.compiler.errors import UsageError
from attnc.model_defs.registry import FAMILIES
from attnc.runtimes.accuracy import Accuracy
from attnc.runtimes.accuracy_run import measure_accuracy
from attnc.runtimes.dataset import open_dataset
from attnc.runtimes.limits import TABLE, table_limits
from attnc.targets.profile import load_profile
from attnc.targets.registry import TARGETS

NANOS = tuple(name for family in FAMILIES for name in family.variants if name.endswith("_nano"))
#: One that has all precisions, where the default serves devices without some of them.
PROFILES = {"tensorrt": "rtx4090"}
#: Where not all pictures are taken: evaluating a program operation by operation takes longer. So
#: many that one picture between two classes is less than the agreement that any precision asks.
PICTURES = {"coreml": 90}
#: What ran it: never something weaker unnoticed.
MODES = {
    "cpu": ("kernels",),
    "tensorrt": ("bodies", "bodies-float32"),
    "android": ("kernels", "host-kernels"),
    "arm64": ("kernels", "host-kernels"),
    "web": ("engine-relaxed",),
    "coreml": ("evaluator",),
}
LEAST_ACCURACY, LEAST_AGREEMENT = 0.97, 0.99


@pytest.fixture(autouse=True, scope="module")
def traced_once() -> Iterator[None]:
    """Exports of one network share its trace and its passes, and build no engines."""
    trace, passes, held = api._trace, api._run_passes, {}

    def traced(model: str, *options: Any) -> Any:
        if model not in held:
            found = trace(model, *options)
            held[model] = found, passes(found)
        found, _ = held[model]
        return replace(found, model=found.model.clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "_trace", traced)
        patch.setattr(api, "_run_passes", lambda found: held[found.source.name][1])
        for module in (emit_tensorrt, tensorrt_work):
            patch.setattr(module, "rtx_version", lambda: None)
        yield


@cache
def precisions_of(target: str) -> tuple[str, ...]:
    """Every precision with limits that the target takes."""
    default = next(known.default_profile for known in TARGETS if known.name == target)
    profile = load_profile(target, PROFILES.get(target, default))
    return tuple(p for p in dict.fromkeys(p for _, p in TABLE) if _takes(profile, p))


def _takes(profile: Any, precision: str) -> bool:
    try:
        emitter_of(profile, precision, kernels=True, measure=False)
    except UsageError:
        return False
    return True


def measured(name: str, target: str, precision: str, folder: Path) -> Accuracy:
    bundle = attnc.export(
        name,
        target=target,
        profile=PROFILES.get(target),
        precision=precision,
        output=folder / precision,
    )
    assert bundle.manifest.precision == precision
    digits = open_dataset("digits", bundle.labels).spread(PICTURES.get(target))
    return measure_accuracy(bundle, lambda: api.rebuild_reference(bundle), digits)


def test_every_target_has_its_precisions() -> None:
    """What is asked for below: new ones come in by themselves, and none gets lost."""
    found = {target.name: set(precisions_of(target.name)) for target in TARGETS}
    assert found.keys() == MODES.keys()
    assert all("fp32" in held for held in found.values())
    assert found["web"] >= {"fp32", "fp16w"}
    assert found["tensorrt"] >= {"fp32", "fp16", "bf16"}
    assert found["coreml"] >= {"fp16", "int8w", "pal8w", "pal6w", "pal4w"}


# Networks outside, so that a trace is made just before it is used.
@pytest.mark.parametrize("target", [target.name for target in TARGETS])
@pytest.mark.parametrize("name", NANOS)
def test_the_accuracy_is_kept(name: str, target: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    wrong = []
    for precision in precisions_of(target):
        found = measured(name, target, precision, tmp_path)
        assert found.mode in MODES[target]
        assert found.source is not None
        if target not in PICTURES:
            assert found.source.top1 >= LEAST_ACCURACY
        allowed = table_limits(target, precision).drop
        good = found.bundle.top1 >= found.source.top1 - max(allowed, 1 - LEAST_AGREEMENT)
        agrees = (found.agreement or 0.0) >= min(LEAST_AGREEMENT, 1 - 2 * allowed)
        if found.check().status != "verified" or not (good and agrees):
            wrong.append((precision, found))
    assert not wrong
