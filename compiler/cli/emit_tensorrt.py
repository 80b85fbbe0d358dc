"""TensorRT's side of an export: what the manifest says of the graph, the plugins and the engines.

Where TensorRT for RTX is not installed nothing is built, and the manifest says so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from attnc.compiler import contents
from attnc.compiler.cli.earning import MEASURE_VARIABLE
from attnc.compiler.cli.emitting import Emitted, Labels
from attnc.compiler.cli.tensorrt_work import NO_KERNEL, Recorder, Work
from attnc.compiler.manifest import TensorrtEntry
from attnc.compiler.progress import Progress
from attnc.runtimes.tensorrt.engine import EngineError
from attnc.runtimes.tensorrt.environment import rtx_version
from attnc.targets.tensorrt.emit import (
    Choice,
    check_precision,
    device_of,
    options_of,
)
from attnc.targets.tensorrt.lower import lower

if TYPE_CHECKING:
    from attnc.compiler.trace.traced import TracedModel
    from attnc.targets.profile import Profile


class TensorrtEmitter:
    """See `Emitter`."""

    stage = "lowering for TensorRT, building engines"

    def __init__(
        self, profile: Profile, precision: str, kernels: bool, measure: bool | None
    ) -> None:
        check_precision(profile, precision)
        self.profile, self.precision, self.kernels = profile, precision, kernels
        self.device = device_of(profile)
        if measure is None:
            measure = os.environ.get(MEASURE_VARIABLE, "1") != "0"
        self.measure = measure

    def refusals(self, model: ir.Model) -> Sequence[Any]:
        """See `Emitter`."""
        return lower(model, options_of(self.profile, self.precision, Choice()))

    def emit(
        self, traced: TracedModel, folder: Path, progress: Progress, labels: Labels = None
    ) -> Emitted:
        """Decide on the plugins, write model, kernels, sources, recipes and the plan."""
        work = Work(self, traced, Recorder(traced), progress)
        try:
            return self._emitted(work, folder, attention_operator=True)
        except EngineError as error:
            if NO_KERNEL not in error.message:
                raise
        progress.stage("again, with attention as products")
        return self._emitted(work, folder, attention_operator=False)

    def _emitted(self, work: Work, folder: Path, *, attention_operator: bool) -> Emitted:
        choice, verdicts = work.judge(attention_operator=attention_operator)
        model = work.traced.model.clone()
        emission = work.write(model, folder, choice)
        builds, plan = work.build(folder)
        entry = TensorrtEntry(
            runtime=self.device.runtime,
            version=self.device.version,
            compute_capabilities=self.device.compute_capabilities,
            plugins=emission.plugins,
            builder=rtx_version(),
            builds=builds,
            plan=plan,
        )
        fields = {
            "opset": model.graph.opset_imports[""],
            "ir_version": int(model.ir_version),
            "operators": contents.count_operators(model),
            "precision": self.precision,
            "verdicts": verdicts,
            "not_lowered": tuple(map(contents.refused, emission.not_lowered)),
            "float32_regions": tuple(map(contents.place, emission.float32_regions)),
            "tensorrt": entry,
        }
        return Emitted(fields)
