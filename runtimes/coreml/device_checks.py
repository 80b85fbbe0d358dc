"""Core ML's predictions against the outputs that are expected; says so where it cannot predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from attnc.compiler.errors import AttncError, MissingRuntimeError
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.checks import Check, parity_check, top1_check
from attnc.runtimes.compare import compare
from attnc.runtimes.coreml.device import CoremlRunner, available, mac_info
from attnc.runtimes.coreml.device_values import numbers
from attnc.runtimes.coreml.types import Array
from attnc.runtimes.proof.outputs import Measured
from attnc.runtimes.verify import closest_classes

PREDICT = "coreml.predict"


@dataclass(frozen=True)
class DeviceCase:
    """What the package's only input gets, and the logits [1, classes] that are expected.

    For a classifier without logits among its outputs, `expected` are the probabilities in the
    order of its classes. A photograph is also checked for top-1.
    """

    name: str
    given: Array | Image.Image
    expected: Array
    photo: bool = False


def check_on_device(
    package_path: Path,
    cases: Sequence[DeviceCase],
    limit: Callable[[Any], float],
    note: str = "",
    units: str = "all",
    progress: Progress = SILENT,
    measured: list[Measured] | None = None,
) -> list[Check]:
    """The checks `coreml.parity.<case>` and, for photographs, `coreml.top1.<case>`.

    `limit` gives the largest relative error for an expected output, `note` why; outputs are added
    to `measured`. Where Core ML cannot predict there is one check, not verified; where it refuses
    the package one that failed.
    """
    reason = available()
    if reason:
        return [Check(PREDICT, "not-verified", reason=reason)]
    progress.stage(f"Core ML on compute units {units}", len(cases))
    mac, checks = mac_info(), list[Check]()
    place = f"on {mac['chip']}, macOS {mac['macos']}, compute units {units}"
    words = f"{place}; {note}" if note else place
    try:
        with CoremlRunner(package_path, units) as runner:
            for case in cases:
                checks += _check_case(runner, case, limit(case.expected), words, measured)
                progress.advance()
    except MissingRuntimeError as error:
        return [Check(PREDICT, "not-verified", reason=error.message)]
    except AttncError as error:
        return [Check(PREDICT, "failed", reason=error.message)]
    return checks


def _check_case(
    runner: CoremlRunner,
    case: DeviceCase,
    limit: float,
    note: str,
    measured: list[Measured] | None,
) -> list[Check]:
    name = f"coreml.parity.{case.name}"
    try:
        outputs = runner.infer({runner.inputs[0].name: case.given})
        output = numbers(outputs, runner.gives, runner.labels)
    except AttncError as error:
        return [Check(name, "failed", None, limit, error.message)]
    if output.shape != case.expected.shape:
        shapes = f"{list(output.shape)}, not {list(case.expected.shape)}"
        return [Check(name, "failed", None, limit, f"the output has shape {shapes}")]
    distance = compare(output, case.expected)
    if measured is not None:
        measured.append(Measured.of("logits", case.name, "coreml", output, case.expected))
    checks = [parity_check(name, distance, limit, note)]
    if case.photo:
        near = closest_classes(case.expected) <= limit
        checks.append(top1_check(f"coreml.top1.{case.name}", distance, near_tie=near))
    return checks
