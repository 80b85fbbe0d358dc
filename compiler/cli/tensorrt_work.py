"""The work of one TensorRT export: candidates are lowered, built and compared, the best is kept.

A plugin costs TensorRT its own fusions around it, so each one is kept only where a build with it
has fewer kernels than a build with its body.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.manifest import EngineEntry, Verdict
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.progress import Progress
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.cuda.build import compile_cubins, compile_ptx
from attnc.runtimes.cuda.kernels import kernel_of
from attnc.runtimes.cuda.limits import refusal
from attnc.runtimes.tensorrt.engine import (
    BUILDABLE,
    DYNAMIC_BATCH,
    Engine,
    EngineError,
    build_engine,
)
from attnc.runtimes.tensorrt.environment import rtx_version
from attnc.runtimes.tensorrt.layers import attentions, plugins
from attnc.runtimes.tensorrt.sources import Network, write_sources
from attnc.targets.model_file import MODEL_FILE
from attnc.targets.tensorrt.emit import (
    Choice,
    Emission,
    emit,
    options_of,
)
from attnc.targets.tensorrt.forms import semantic_of
from attnc.targets.tensorrt.lower import lower, plugin_operators

if TYPE_CHECKING:
    from attnc.compiler.cli.emit_tensorrt import TensorrtEmitter
    from attnc.compiler.trace.traced import TracedModel
    from attnc.targets.profile import TensorrtDevice

PLAN_FILE, PLUGIN_FILE = "model.plan", "plugin.py"
#: Ranges for float16 are recorded on this many seeded pictures, and on the photographs here.
RANGE_SEEDS = (21, 22)
#: Builds for other GPUs are judged by this one: TensorRT for RTX builds no engines for theirs.
STAND_IN = "89"
#: What TensorRT says of an operator Attention at sizes that it has no fused kernel for.
NO_KERNEL = "not supported by a dedicated kernel"


@dataclass
class Recorder:
    """Magnitudes of the values of a float32 graph, on seeded pictures and photographs."""

    traced: TracedModel

    def __call__(self, model: ir.Model) -> Mapping[str, float]:
        from attnc.runtimes.photos import find_photos
        from attnc.runtimes.preprocess import load_picture, preprocess
        from attnc.runtimes.ranges import record_ranges

        batch, *rest = self.traced.input.shape
        one = (batch if isinstance(batch, int) else 1, *map(int, rest))
        arrays = [seeded_input(one, seed) for seed in RANGE_SEEDS]
        rule = self.traced.preprocessing
        if rule is not None:
            pictures = [preprocess(load_picture(photo), rule) for photo in find_photos()]
            arrays += [np.repeat(picture, one[0], axis=0) for picture in pictures]
        return record_ranges(model, arrays)


@dataclass
class Work:
    """One export: candidates are judged, the best is written and built."""

    emitter: TensorrtEmitter
    traced: TracedModel
    ranges: Recorder
    progress: Progress

    def judge(self, *, attention_operator: bool) -> tuple[Choice, tuple[Verdict, ...]]:
        """What is no plugin, and the verdict on each operator that could be one."""
        names = plugin_operators(self.traced.model)
        counts = Counter(node.op_type for node in self.traced.model.graph)
        found = [] if attention_operator else [_verdict("Attention", counts, "body", NO_KERNEL)]
        choice = Choice(frozenset(), attention_operator)
        for name, why in self._too_large(choice).items():
            choice = replace(choice, bodies=choice.bodies | {name})
            found.append(_verdict(name, counts, "body", why))
        names = [name for name in names if name not in choice.bodies]
        reason = self._no_judging()
        if reason:
            kept = self.emitter.kernels
            verdict: Any = "not measured" if kept else "body"
            found += [_verdict(name, counts, verdict, reason) for name in names]
            more = frozenset(() if kept else names)
            return replace(choice, bodies=choice.bodies | more), tuple(found)
        best = self._kernels(choice) if names else 0
        for name in names:
            self.progress.stage(f"is {name} worth a plugin?")
            without = replace(choice, bodies=choice.bodies | {name})
            other, reason = self._kernels_without(without, best)
            pays = other is None or best < other
            found.append(_verdict(name, counts, "fused" if pays else "body", reason))
            if not pays:
                assert other is not None
                choice, best = without, other
        return choice, tuple(found)

    def _too_large(self, choice: Choice) -> dict[str, str]:
        """Semantic operators of which a plugin could not be launched, and why."""
        model, found = self.traced.model.clone(), {}
        lower(model, options_of(self.emitter.profile, self.emitter.precision, choice))
        for node in model.graph:
            kernel = kernel_of(node.op_type) if node.domain == DOMAIN else None
            if kernel is None:
                continue
            shapes = [_largest(value) for value in node.inputs]
            given = {name: attr.value for name, attr in node.attributes.items()}
            reason = refusal(kernel, shapes, given)
            if reason:
                found[semantic_of(node.op_type)] = reason
        return found

    def _kernels_without(self, choice: Choice, best: int) -> tuple[int | None, str]:
        """The kernels with one plugin less, None if that does not build; and what to say."""
        try:
            other = self._kernels(choice)
        except EngineError as error:
            return None, f"{best} kernels with the plugin; without: {error.message}"
        return other, f"{best} kernels with the plugin, {other} without"

    def _no_judging(self) -> str:
        if not self.emitter.kernels:
            return "the bundle was exported without kernels"
        if not self.emitter.measure:
            return "measuring was switched off"
        if rtx_version() is None:
            return "TensorRT for RTX is not installed here"
        return ""

    def _kernels(self, choice: Choice) -> int:
        """How many kernels an engine has that is lowered so."""
        with TemporaryDirectory(prefix="attnc-judge-") as place:
            folder = Path(place)
            self.write(self.traced.model.clone(), folder, choice)
            return len(self._engine(folder, judged_on(self.emitter.device)).layers)

    def write(self, model: ir.Model, folder: Path, choice: Choice) -> Emission:
        """Lower and write the model, the kernels of its plugins and the sources."""
        emitter = self.emitter
        emission = emit(model, emitter.profile, folder, emitter.precision, self.ranges, choice)
        kernels = [kernel for name in emission.plugins if (kernel := kernel_of(name))]
        missing = set(emission.plugins) - {kernel.operator for kernel in kernels}
        if missing:
            raise UnsupportedError(f"no CUDA kernel for {', '.join(sorted(missing))}")
        write_sources(folder, kernels, emitter.precision, self._network())
        if kernels:
            architectures = emitter.device.architectures
            _compile(folder / "kernels", emission.plugins, architectures, emitter.precision)
        return emission

    def _network(self) -> Network:
        spec, result = self.traced.input, self.traced.outputs[0]
        device = self.emitter.device
        runtime = "tensorrt_rtx" if device.runtime == "tensorrt-rtx" else "tensorrt"
        free = self.traced.batch == "dynamic"
        shape = (1 if free else int(spec.shape[0]), *map(int, spec.shape[1:]))
        batches = DYNAMIC_BATCH if free else None
        return Network(
            self.traced.source.name,
            runtime,
            spec.name,
            shape,
            result.name,
            batches,
            cuda=device.cuda,
            architectures=device.architectures,
        )

    def build(self, folder: Path) -> tuple[tuple[EngineEntry, ...], str | None]:
        """Build the engines that this machine can; the plan is kept for profiles of RTX."""
        device = self.emitter.device
        if rtx_version() is None:
            return (), None
        if device.runtime != "tensorrt-rtx":
            self.progress.stage(f"building an engine for sm_{judged_on(device)}")
            return (self._entry(self._engine(folder, judged_on(device))),), None
        self.progress.stage("building the plan")
        engine = self._engine(folder, ",".join(device.architectures), folder / PLAN_FILE)
        return (self._entry(engine),), PLAN_FILE

    def _engine(self, folder: Path, sm: str, plan: Path | None = None) -> Engine:
        batch = DYNAMIC_BATCH if self.traced.batch == "dynamic" else None
        return build_engine(
            folder / MODEL_FILE, sm, plugin=folder / PLUGIN_FILE, batch=batch, plan=plan
        )

    def _entry(self, engine: Engine) -> EngineEntry:
        return EngineEntry(
            sm=engine.sm,
            precision=self.emitter.precision,
            batch=engine.batch,
            kernels=len(engine.layers),
            attentions=attentions(engine.layers),
            plugin_layers=plugins(engine.layers),
            plan_bytes=engine.plan_bytes,
            plan_sha256=engine.plan_sha256,
            names=tuple(layer.name for layer in engine.layers),
        )


def _largest(value: ir.Value | None) -> list[int]:
    """The sizes of an input, a free batch at its largest."""
    assert value is not None
    assert value.shape is not None
    return [size if isinstance(size, int) else DYNAMIC_BATCH[-1] for size in value.shape]


def _compile(
    folder: Path, operators: Sequence[str], architectures: Sequence[str], precision: str
) -> None:
    """A cubin for each GPU of the profile, and PTX for those to come, of one precision."""
    compile_cubins(folder, operators, [f"sm_{name}" for name in architectures], (precision,))
    compile_ptx(folder, operators, f"compute_{min(architectures, key=int)}", (precision,))


def judged_on(device: TensorrtDevice) -> str:
    """The architecture whose engines decide: the profile's own if one can be built here."""
    own = [name for name in device.architectures if name in BUILDABLE]
    return own[-1] if own else STAND_IN


def _verdict(name: str, counts: Counter[str], verdict: Any, reason: str) -> Verdict:
    return Verdict(operator=name, shapes="all", nodes=counts[name], verdict=verdict, reason=reason)
