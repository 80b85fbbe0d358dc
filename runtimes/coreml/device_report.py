"""All that a Mac can add to a verification: predictions, the compute plan, latency.

What is not a question of right or wrong (where operations run, how long it takes) is reported as
measured; where Core ML is not at hand each line says that it did not run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnc.compiler.errors import AttncError
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.checks import Check
from attnc.runtimes.coreml.device import available
from attnc.runtimes.coreml.device_checks import DeviceCase, check_on_device
from attnc.runtimes.coreml.device_latency import measure_units
from attnc.runtimes.coreml.device_plan import NEURAL_ENGINE, placement
from attnc.runtimes.measure import Effort
from attnc.runtimes.proof.outputs import Measured

PLAN, LATENCY = "coreml.plan", "coreml.latency"
#: A glance; `attnc bench` measures.
GLANCE = Effort(sittings=1, rounds=3, burst=10)


def device_checks(
    package_path: Path,
    cases: Sequence[DeviceCase],
    limit: Callable[[Any], float],
    note: str = "",
    progress: Progress = SILENT,
    measured: list[Measured] | None = None,
) -> list[Check]:
    """`check_on_device`, and one line each for the plan and the latency on all compute units."""
    checks = check_on_device(package_path, cases, limit, note, progress=progress, measured=measured)
    reason = available()
    if reason:
        return [*checks, *(Check(name, "not-verified", reason=reason) for name in (PLAN, LATENCY))]
    for name, look in ((PLAN, _plan), (LATENCY, _latency)):
        progress.stage(f"Core ML's {name.partition('.')[2]}")
        try:
            checks.append(look(package_path))
        except AttncError as error:
            checks.append(Check(name, "not-verified", reason=error.message))
    return checks


def _plan(path: Path) -> Check:
    """The share of operations that prefer the Neural Engine."""
    plan = placement(path)
    share = plan.counts.get(NEURAL_ENGINE, 0) / max(len(plan.operations), 1)
    counts = ", ".join(f"{count} on {device}" for device, count in sorted(plan.counts.items()))
    return Check(PLAN, "verified", share, reason=f"operations: {counts}")


def _latency(path: Path) -> Check:
    """The median of calls, in milliseconds."""
    report = measure_units(path, ("all",), GLANCE)
    (row,) = report["results"]
    mac = report["device"]
    reason = f"median ms of {row['n']} calls on {mac['chip']}, macOS {mac['macos']}"
    return Check(LATENCY, "verified", row["median_ms"], reason=reason)
