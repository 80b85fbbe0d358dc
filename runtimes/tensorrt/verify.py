"""Is a TensorRT bundle right: what this machine can show of it, and what it cannot.

Outputs of the model file in ONNX Runtime, the kernels emulated on the processor, engines built by
TensorRT for RTX with their lists of kernels. What needs a GPU is named as not verified.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, UsageError
from attnc.compiler.manifest import EngineEntry, Manifest, TensorrtEntry
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.checks import Check, Report, Status
from attnc.runtimes.cuda.device import find_devices
from attnc.runtimes.tensorrt.engine import BUILDABLE, DYNAMIC_BATCH, Engine, build_engine
from attnc.runtimes.tensorrt.environment import rtx_version
from attnc.runtimes.tensorrt.gpu_verify import Inputs, check_on_device
from attnc.runtimes.tensorrt.layers import Layer, attentions, moves, plugins
from attnc.runtimes.tensorrt.parity import Reference, check_parity

INCLUDE_VARIABLE = "ATTNC_TENSORRT_INCLUDE"
#: Builds that are tried without being asked for; bfloat16 does not exist before 80.
DEFAULT_SMS = ("75", "80", "86", "89", "120")
FIRST_BF16 = 80
PLUGIN_FILE = "plugin.py"


@dataclass(frozen=True)
class Source:
    """`function` rebuilds the source model, `plain` writes its plain export in the bundle's
    precision and returns the file; both raise AttncError where the source is not to be had."""

    function: Callable[[], Reference]
    plain: Callable[[Path], Path]


def verify_tensorrt(
    bundle: Bundle,
    source: Source,
    images: Path | None = None,
    sms: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Report:
    """Check an opened bundle; `sms` names the architectures to build for, all without it.

    Raises UsageError for an architecture that TensorRT for RTX does not build for.
    """
    entry = bundle.manifest.tensorrt
    if entry is None:
        raise UsageError("the manifest names no TensorRT runtime", where=str(bundle.path))
    wanted = architectures(bundle.manifest, sms)
    report = Report()
    with TemporaryDirectory(prefix="attnc-plain-") as folder:
        plain = _plain(source, Path(folder), report)
        check_parity(bundle, source.function, plain, images, report, progress)
        report.checks += emulated(entry, bundle.manifest.precision, progress)
        check_builds(bundle, entry, wanted, plain, report, progress)
        report.checks.append(_cpp_plugin(bundle, entry))
        inputs = Inputs(source.function, plain, images)
        report.checks += _gpu(bundle, entry, inputs, progress)
        report.outputs += inputs.measured
    return report


def architectures(manifest: Manifest, sms: Sequence[str]) -> tuple[str, ...]:
    """The architectures to build for, checked."""
    for sm in sms:
        if sm not in BUILDABLE:
            raise UsageError(
                f"TensorRT for RTX builds no engine for sm_{sm}",
                remedy=f"one of {', '.join(BUILDABLE)}; others build on their own device",
            )
        if manifest.precision == "bf16" and int(sm) < FIRST_BF16:
            raise UsageError(f"sm_{sm} has no bfloat16", remedy="name 80 or later")
    bf16 = manifest.precision == "bf16"
    return tuple(sms) or tuple(sm for sm in DEFAULT_SMS if not bf16 or int(sm) >= FIRST_BF16)


def _plain(source: Source, folder: Path, report: Report) -> Path | None:
    try:
        return source.plain(folder)
    except AttncError as error:
        reason = f"the plain export is not to be had: {error.message}"
        report.checks.append(Check("baseline", "not-verified", reason=reason))
        return None


def emulated(entry: TensorrtEntry, precision: str, progress: Progress = SILENT) -> list[Check]:
    """Every kernel of the bundle on its operator's hard inputs, compiled for the processor."""
    from attnc.runtimes.cuda.emulation import worst_error

    checks = []
    for name in entry.plugins:
        progress.stage(f"emulating {name}")
        try:
            value, limit = worst_error(name, precision)
        except AttncError as error:
            checks.append(Check(f"kernel/{name}/emulated", "not-verified", reason=error.message))
            continue
        status: Status = "verified" if value <= limit else "failed"
        note = "on the processor, against float64; not on a GPU"
        checks.append(Check(f"kernel/{name}/emulated", status, value, limit, note))
    return checks


def check_builds(
    bundle: Bundle,
    entry: TensorrtEntry,
    sms: Sequence[str],
    plain: Path | None,
    report: Report,
    progress: Progress = SILENT,
) -> None:
    """Build the bundle and its plain twin for each architecture; fills builds and baseline."""
    if rtx_version() is None:
        reason = "needs TensorRT for RTX: pip install 'attnc[tensorrt]'"
        report.checks.append(Check("engine", "not-verified", reason=reason))
        return
    progress.stage("building engines", 2 * len(sms))
    precision = bundle.manifest.precision
    for sm in sms:
        baseline = _baseline(bundle, plain, sm, report)
        progress.advance()
        try:
            engine = _build(bundle, bundle.model_path, sm, plugin=True)
        except AttncError as error:
            report.checks.append(Check(f"engine/sm_{sm}", "failed", reason=error.message))
            continue
        finally:
            progress.advance()
        report.builds.append(engine.as_json(precision, bundle.manifest.batch))
        report.checks += engine_checks(bundle, engine, entry, baseline)
    report.checks += _same_plan(bundle, entry)


def _build(bundle: Bundle, model: Path, sm: str, *, plugin: bool) -> Engine:
    return build_engine(
        model,
        sm,
        plugin=bundle.path / PLUGIN_FILE if plugin else None,
        batch=DYNAMIC_BATCH if bundle.manifest.batch == "dynamic" else None,
    )


def _baseline(bundle: Bundle, plain: Path | None, sm: str, report: Report) -> Engine | None:
    if plain is None:
        return None
    try:
        engine = _build(bundle, plain, sm, plugin=False)
    except AttncError as error:
        reason = f"the plain export does not build: {error.message}"
        report.checks.append(Check(f"baseline/sm_{sm}", "not-verified", reason=reason))
        return None
    report.baseline.append(engine.as_json(bundle.manifest.precision, bundle.manifest.batch))
    return engine


def engine_checks(
    bundle: Bundle, engine: Engine, entry: TensorrtEntry, baseline: Engine | None
) -> list[Check]:
    """Fused attentions, plugins and kernels of an engine against what the bundle promises."""
    name = f"engine/sm_{engine.sm}"
    nodes = sum(
        count
        for operator, count in bundle.manifest.operators.items()
        if operator.removeprefix("attnc::") in entry.plugins
    )
    checks = [_equal(f"{name}/plugins", plugins(engine.layers), nodes)]
    expected = entry.builds[0] if entry.builds else None
    if expected is not None:
        found = attentions(engine.layers)
        checks.append(_at_least(f"{name}/attentions", found, expected.attentions))
        checks.append(_kernel_count(f"{name}/kernels", engine, expected))
        checks.append(_moving(f"{name}/moves", engine, expected, baseline))
    if baseline is not None:
        ours, theirs = len(engine.layers), len(baseline.layers)
        status: Status = "verified" if ours <= theirs else "failed"
        note = "kernels, against those of the plain export"
        checks.append(Check(f"{name}/baseline", status, float(ours), float(theirs), note))
    return checks


def _equal(name: str, found: int, expected: int) -> Check:
    status: Status = "verified" if found == expected else "failed"
    reason = "" if found == expected else "an operator runs on its body instead of its plugin"
    return Check(name, status, float(found), float(expected), reason)


def _at_least(name: str, found: int, expected: int) -> Check:
    if found >= expected:
        return Check(name, "verified", float(found), float(expected), "built, not run")
    return Check(name, "failed", float(found), float(expected), "attentions are no longer fused")


def _kernel_count(name: str, engine: Engine, expected: EngineEntry) -> Check:
    """The list of kernels was recorded for one build; others differ by a few."""
    found, limit = float(len(engine.layers)), float(expected.kernels)
    if engine.sm == expected.sm:
        same = tuple(layer.name for layer in engine.layers) == expected.names
        return Check(name, "verified" if same else "failed", found, limit, "built, not run")
    return Check(name, "build-only", found, limit, f"recorded for sm_{expected.sm}")


def _moving(name: str, engine: Engine, expected: EngineEntry, baseline: Engine | None) -> Check:
    """Kernels that only copy or turn: more of them means that a format no longer fits.

    Turing needs some for its own formats, the plain export more of them.
    """
    found = moves(engine.layers)
    limit = moves([Layer(kernel, "", ()) for kernel in expected.names])
    if engine.sm not in expected.sm.split(",") and baseline is not None:
        limit = max(limit, moves(baseline.layers))
    status: Status = "verified" if found <= limit else "failed"
    return Check(name, status, float(found), float(limit), "kernels that only move data")


def _same_plan(bundle: Bundle, entry: TensorrtEntry) -> list[Check]:
    """The plan of the bundle is what a build gives, byte for byte."""
    if entry.plan is None or not entry.builds:
        return []
    if rtx_version() != entry.builder:
        reason = f"it was built by version {entry.builder}, here is {rtx_version()}"
        return [Check("plan", "not-verified", reason=reason)]
    try:
        engine = _build(bundle, bundle.model_path, entry.builds[0].sm, plugin=True)
    except AttncError as error:
        return [Check("plan", "failed", reason=error.message)]
    return [_plan_check(engine, entry.builds[0])]


def _plan_check(engine: Engine, recorded: EngineEntry) -> Check:
    """Where addresses cannot be fixed, TensorRT numbers some values otherwise: no fault of ours."""
    if engine.plan_sha256 == recorded.plan_sha256:
        return Check("plan", "verified", reason="built again to the same bytes")
    names = tuple(layer.name for layer in engine.layers)
    if (names, engine.plan_bytes) == (recorded.names, recorded.plan_bytes):
        reason = "a second build has the same kernels and size, but other bytes"
        return Check("plan", "not-verified", reason=reason)
    return Check("plan", "failed", reason="a second build has other kernels")


def _cpp_plugin(bundle: Bundle, entry: TensorrtEntry) -> Check:
    """The C++ plugin against TensorRT's own headers, if they are here."""
    folder = os.environ.get(INCLUDE_VARIABLE)
    if not entry.plugins:
        return Check("plugin.cpp", "not-verified", reason="the bundle has no plugins")
    if not folder or not (Path(folder) / "NvInfer.h").is_file():
        reason = f"needs TensorRT's headers: set {INCLUDE_VARIABLE} to their folder"
        return Check("plugin.cpp", "not-verified", reason=reason)
    from attnc.runtimes.cuda.build import cuda_include

    command = ["g++", "-std=c++17", "-fsyntax-only", "-I", folder, "-I", str(cuda_include())]
    done = subprocess.run(
        [*command, "plugin.cpp"], cwd=bundle.path, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return Check("plugin.cpp", "verified", reason=f"compiles against {folder}; not run")
    first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
    return Check("plugin.cpp", "failed", reason=first[:300])


def _gpu(
    bundle: Bundle, entry: TensorrtEntry, inputs: Inputs, progress: Progress = SILENT
) -> list[Check]:
    """What only the device can show."""
    devices = find_devices()
    if devices:
        return check_on_device(bundle, entry, devices[0], inputs, progress)
    reason = f"needs an NVIDIA GPU of compute capability {', '.join(entry.compute_capabilities)}"
    names = [f"kernel/{name}/gpu" for name in entry.plugins]
    return [
        Check(name, "not-verified", reason=reason)
        for name in (*names, "gpu/outputs", "gpu/latency")
    ]
