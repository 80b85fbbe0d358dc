"""What a GPU shows of a TensorRT bundle: its kernels against float64, its engine against ONNX
Runtime on the same model file.

All of it runs in other processes, because a kernel that crashes ends its CUDA context.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import AttncError, MissingRuntimeError, UnsupportedError
from attnc.compiler.manifest import TensorrtEntry
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.checks import Check, Report, Status, parity_check, top1_check
from attnc.runtimes.compare import compare
from attnc.runtimes.cuda.device import Device
from attnc.runtimes.limits import limits_of
from attnc.runtimes.proof.outputs import Measured
from attnc.runtimes.tensorrt.engine import DYNAMIC_BATCH
from attnc.runtimes.tensorrt.gpu import GpuEngine, Host, build_on_device, host_of
from attnc.runtimes.tensorrt.parity import TIMES, Reference, runner
from attnc.runtimes.verify import Case, closest_classes, live_cases, recorded_cases

Array = NDArray[np.float32]
KERNEL_SECONDS = 600.0


@dataclass(frozen=True)
class Inputs:
    """Where the cases come from: the source model, its plain export, photographs; `measured` takes
    the engine's outputs, against the source."""

    function: Callable[[], Reference]
    plain: Path | None = None
    images: Path | None = None
    measured: list[Measured] = field(default_factory=list)


def check_on_device(
    bundle: Bundle,
    entry: TensorrtEntry,
    device: Device,
    inputs: Inputs,
    progress: Progress = SILENT,
) -> list[Check]:
    """All checks that need this GPU; what it refuses is not verified, in the runtime's words."""
    host, checks = host_of(entry), []
    promised = device.capability in entry.compute_capabilities
    for name in entry.plugins:
        progress.stage(f"{name} on {device.name}")
        checks.append(check_kernel(bundle, name, host, promised=promised))
    progress.stage(f"the engine on {device.name}")
    checks += check_outputs(bundle, entry, host, inputs, progress)
    reason = "`attnc bench` times the engine here, against that of the plain export"
    return [*checks, Check("gpu/latency", "not-verified", reason=reason)]


def check_kernel(bundle: Bundle, operator: str, host: Host, *, promised: bool) -> Check:
    """The compiled kernel of the bundle on its operator's hard inputs.

    `promised`: the bundle is for this GPU, so that a kernel that does not load is a fault.
    """
    name, precision = f"kernel/{operator}/gpu", bundle.manifest.precision
    command = [sys.executable, "-P", "-m", "attnc.runtimes.cuda.gpu_check", "--json"]
    command += ["--operators", operator, "--precision", precision]
    command += ["--kernels", str(bundle.path / "kernels")]
    command += ["--fake", host.fake] if host.fake else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=KERNEL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Check(name, "failed", reason=f"it did not end in {KERNEL_SECONDS:.0f} s")
    failing: Status = "failed" if promised else "not-verified"
    try:
        document = json.loads(done.stdout)
        (finding,) = document["findings"]
    except ValueError:
        return Check(name, failing, reason=_last_words(done))
    note = f"on {document['device']}, against float64"
    if finding["value"] is None:
        return Check(name, failing, reason=f"{finding['problem']}, {note}")
    if finding["value"] == "infinite":
        reason = f"an index differs, or a part was not written, {note}"
        return Check(name, "failed", None, finding["limit"], reason)
    status: Status = "verified" if finding["value"] <= finding["limit"] else "failed"
    return Check(name, status, finding["value"], finding["limit"], note)


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Our error message, or the last line of a traceback."""
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    ours = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return ours[0] if ours else lines[-1]


def check_outputs(
    bundle: Bundle,
    entry: TensorrtEntry,
    host: Host,
    inputs: Inputs,
    progress: Progress = SILENT,
) -> list[Check]:
    """The engine's outputs against ONNX Runtime's on the cases of the parity checks."""
    if not host.installed:
        reason = f"needs the Python package {host.runtime.replace('_', '-')}: {host.remedy}"
        return [Check("gpu/outputs", "not-verified", reason=reason)]
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="attnc-verify-")))
            engine, check = _open(bundle, entry, host, folder, stack, progress)
            return [check, *_compared(bundle, engine, inputs, progress)]
    except (UnsupportedError, MissingRuntimeError) as error:
        return [Check("gpu/outputs", "not-verified", reason=error.message)]
    except AttncError as error:
        return [Check("gpu/outputs", "failed", reason=error.message)]


def _open(
    bundle: Bundle,
    entry: TensorrtEntry,
    host: Host,
    folder: Path,
    stack: ExitStack,
    progress: Progress,
) -> tuple[GpuEngine, Check]:
    """The bundle's plan, or one that is built here if it has none or it is refused."""
    plugin, refusal = bundle.path / "plugin.py", ""
    if entry.plan is not None:
        try:
            engine = stack.enter_context(GpuEngine(host, bundle.path / entry.plan, plugin))
            note = f"the bundle's plan loads in {_where(engine)}"
            return engine, Check("gpu/plan", "verified", reason=note)
        except UnsupportedError as error:
            refusal = error.message
    progress.stage("building an engine on the GPU")
    plan = folder / "here.plan"
    batch = DYNAMIC_BATCH if bundle.manifest.batch == "dynamic" else None
    try:
        build_on_device(host, bundle.model_path, plan, plugin, batch)
        engine = stack.enter_context(GpuEngine(host, plan, plugin))
    except UnsupportedError as error:
        if not refusal:
            raise
        raise UnsupportedError(f"{refusal}; one built here: {error.message}") from error
    why = f"the bundle's is refused: {refusal}" if refusal else "the bundle has none"
    note = f"built here, in {_where(engine)}; {why}"
    return engine, Check("gpu/plan", "not-verified" if refusal else "build-only", reason=note)


def _where(engine: GpuEngine) -> str:
    about = engine.about
    return f"{about['runtime']} on {about['gpu']} (sm_{about['sm']}, CUDA {about['cuda']})"


def _compared(bundle: Bundle, engine: GpuEngine, inputs: Inputs, progress: Progress) -> list[Check]:
    precision = bundle.manifest.precision
    cases = _cases(bundle, inputs)
    limit, why = _limit(bundle, precision, inputs.plain, cases)
    progress.stage("engine against ONNX Runtime", len(cases))
    run, checks = runner(bundle.model_path, precision), []
    result = bundle.manifest.outputs[0].name
    for case in cases:
        expected = run(case.array)
        output = engine.run(case.array)
        distance = compare(output, expected)
        inputs.measured.append(Measured.of(result, case.name, "gpu", output, case.expected))
        name = f"gpu/outputs/{case.name}"
        checks.append(parity_check(name, distance, limit, why))
        if case.photo:
            near = closest_classes(expected) <= limit
            checks.append(top1_check(f"gpu/top1/{case.name}", distance, near_tie=near))
        progress.advance()
    return checks


def _cases(bundle: Bundle, inputs: Inputs) -> list[Case]:
    """Those of the parity checks, which have said what is not there."""
    try:
        reference: Any = inputs.function()
    except AttncError:
        reference = None
    return [*recorded_cases(bundle), *live_cases(bundle, reference, inputs.images, Report())]


def _limit(
    bundle: Bundle, precision: str, plain: Path | None, cases: list[Case]
) -> tuple[float, str]:
    """As for the outputs in ONNX Runtime: twice the plain export's distance from the source."""
    # TensorRT multiplies float32 in TF32, which has as many bits as float16.
    floor = limits_of(bundle, "fp16" if precision == "fp32" else precision).relative
    if precision == "fp32":
        return floor, "against ONNX Runtime; TensorRT multiplies float32 in TF32"
    if plain is None:
        return floor, f"against ONNX Runtime in {precision}"
    run = runner(plain, precision)
    own = max((compare(run(one.array), one.expected).relative for one in cases), default=0.0)
    return max(floor, TIMES * own), f"against ONNX Runtime; the plain export is off by {own:.1e}"
