"""The outputs of a TensorRT bundle's model file in ONNX Runtime, against the source model.

Half precision rounds everything, and models that choose tokens or keys then choose others now and
then. The yardstick is therefore the plain export of the same source in the same precision: ours
may be at most twice as far from the source, or within a fixed small share of the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.progress import SILENT, Progress
from attnc.runtimes.checks import Report, parity_check, top1_check
from attnc.runtimes.compare import compare
from attnc.runtimes.limits import limits_of
from attnc.runtimes.onnx_session import infer, open_session, session_options
from attnc.runtimes.proof.outputs import Measured
from attnc.runtimes.verify import (
    Case,
    closest_classes,
    live_cases,
    rebuilt,
    recorded_cases,
    tolerance_for,
)

Array = NDArray[np.float32]
Reference = Callable[[Array], Array]
Limit = Callable[[Any], float]
TIMES = 2.0


def check_parity(
    bundle: Bundle,
    rebuild: Callable[[], Reference],
    plain: Path | None,
    images: Path | None,
    report: Report,
    progress: Progress = SILENT,
) -> None:
    """Run every case on the function bodies and add the checks to the report."""
    recorded = list(recorded_cases(bundle))
    reference = rebuilt(rebuild, report, progress)
    live = live_cases(bundle, reference, images, report)
    cases = [*recorded, *live]
    if bundle.manifest.precision == "fp32":
        tolerance = tolerance_for(bundle, reference, recorded, live)
        limit, note = cast(Limit, tolerance.limit), tolerance.note
    else:
        limit, note = _half_limit(bundle, plain, cases)
    progress.stage("parity in ONNX Runtime", len(cases))
    run = runner(bundle.model_path, bundle.manifest.precision)
    result = bundle.manifest.outputs[0].name
    for case in cases:
        output = run(case.array)
        report.outputs.append(Measured.of(result, case.name, "bodies", output, case.expected))
        distance, bound = compare(output, case.expected), limit(case.expected)
        report.checks.append(parity_check(f"parity/{case.name}", distance, bound, note=note))
        if case.photo:
            near = closest_classes(case.expected) <= bound and bundle.manifest.precision != "fp32"
            report.checks.append(top1_check(f"top1/{case.name}", distance, near_tie=near))
        progress.advance()


def _half_limit(bundle: Bundle, plain: Path | None, cases: list[Case]) -> tuple[Limit, str]:
    """The limit for all cases, and how it came about: what is fine whatever the plain export does,
    or so many times what that is off."""
    precision, floor = bundle.manifest.precision, limits_of(bundle).relative
    if plain is None:
        return lambda expected: floor, f"{precision}; the plain export is not there to compare"
    run = runner(plain, precision)
    own = max(compare(run(case.array), case.expected).relative for case in cases)
    bound = max(floor, TIMES * own)
    return lambda expected: bound, f"the plain export in {precision} is off by {own:.1e}"


def runner(model: Path, precision: str) -> Callable[[Array], Array]:
    """The model file as a function in ONNX Runtime, on standard operators.

    It has no bfloat16 on processors: such a model runs in float32 with its bfloat16 weights.
    """
    held: Path | bytes = as_float32(model) if precision == "bf16" else model
    session = open_session(held, session_options())
    name, result = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run(array: Array) -> Array:
        return np.asarray(infer(session, {name: array})[result], np.float32)

    return run


def as_float32(path: Path) -> bytes:
    """The model with every bfloat16 replaced by float32; weights keep their rounded values."""
    model = ir.load(path)
    for value in list(model.graph.initializers.values()):
        if value.dtype == ir.DataType.BFLOAT16 and value.const_value is not None:
            wide = value.const_value.numpy().astype(np.float32)
            value.const_value = ir.tensor(wide, name=value.name)
            value.type = ir.TensorType(ir.DataType.FLOAT)
    for value in model.graph.inputs:
        _widen(value)
    for node in model.graph:
        for value in node.outputs:
            _widen(value)
        to = node.attributes.get("to")
        if to is not None and to.value == ir.DataType.BFLOAT16:
            node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT))
    data: bytes = ir.serde.serialize_model(model).SerializeToString()
    return data


def _widen(value: ir.Value) -> None:
    if value.dtype == ir.DataType.BFLOAT16:
        value.type = ir.TensorType(ir.DataType.FLOAT)
