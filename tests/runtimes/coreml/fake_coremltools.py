"""Core ML for tests: what coremltools' binding to it gives, on this machine.

All of coremltools' Python runs as it is; only its compiled module, which exists on macOS alone, is
replaced. Packages are run by the evaluator.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from saved_packages import LABELS

from attnc.compiler.errors import AttncError
from attnc.compiler.seeded_input import seeded_pixels
from attnc.runtimes.coreml import device
from attnc.runtimes.coreml.device_values import numbers
from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.package import open_package

Outputs = dict[str, Any]
#: A description as Core ML gives it: a dictionary over several lines.
REFUSAL = '{\n    NSLocalizedDescription = "no beads for this abacus";\n}'


@dataclass
class World:
    """A Mac: what it does wrong, and what it was asked.

    `bend` changes the outputs; `newest` is the newest specification version that it knows; `plan`
    holds an operation's kind, its devices from the preferred one on, and its cost.
    """

    bend: Callable[[Outputs], Outputs] = lambda outputs: outputs
    refusal: str = ""
    failure: str = ""
    newest: int = 10
    plan: list[tuple[str, list[str], float | None]] = field(default_factory=list)
    program: bool = True
    calls: list[tuple[Any, ...]] = field(default_factory=list)


class Device:
    """The proxy of a compute device; its class tells which."""


class CpuProxy(Device): ...


class GpuProxy(Device): ...


class NeuralEngineProxy(Device): ...


class PlanProxy:
    """A compute plan of the world's operations."""

    def __init__(self, world: World) -> None:
        plans = import_module("coremltools.models.compute_plan")
        self.held = {str(index): each for index, each in enumerate(world.plan)}
        operations = [
            plans.MLModelStructureProgramOperation(
                {},
                kind,
                [plans.MLModelStructureProgramNamedValueType(f"v{index}", None)],
                [],
                index,
            )
            for index, (kind, _, _) in self.held.items()
        ]
        block = plans.MLModelStructureProgramBlock([], operations, [])
        functions = {"main": plans.MLModelStructureProgramFunction([], block)}
        program = plans.MLModelStructureProgram(functions) if world.program else None
        self.model_structure = plans.MLModelStructure(None, program, None)
        self.plans = plans

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        devices = [as_device(name) for name in self.held[operation.__proxy__][1]]
        return self.plans.MLComputePlanDeviceUsage(devices[0], devices) if devices else None

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        cost = self.held[operation.__proxy__][2]
        return None if cost is None else self.plans.MLComputePlanCost(cost)


def as_device(name: str) -> Any:
    devices = import_module("coremltools.models.compute_device")
    kinds = {
        "cpu": (devices.MLCPUComputeDevice, CpuProxy),
        "gpu": (devices.MLGPUComputeDevice, GpuProxy),
        "ne": (devices.MLNeuralEngineComputeDevice, NeuralEngineProxy),
    }
    kind, proxy = kinds[name]
    return kind(proxy())


def model_proxy(world: World) -> type:
    """The binding's model class on this Mac."""

    class ModelProxy:
        def __init__(
            self, path: str, units: str, function: str, hints: dict[str, str], asset: None
        ) -> None:
            world.calls.append(("load", Path(path).name, units))
            if world.refusal:
                raise RuntimeError(world.refusal)
            self.evaluator = Evaluator(open_package(Path(path)))

        @staticmethod
        def maximum_supported_specification_version() -> int:
            return world.newest

        @staticmethod
        def compileModel(path: str) -> str:
            world.calls.append(("compile", Path(path).name))
            if world.refusal:
                raise RuntimeError(world.refusal)
            folder = Path(path).parent / "compiled.mlmodelc"
            folder.mkdir()
            return str(folder)

        @staticmethod
        def get_compute_plan(path: str, units: str) -> Any:
            assert path.endswith(".mlmodelc"), "Core ML would abort"
            assert Path(path).is_dir(), "Core ML would abort"
            world.calls.append(("plan", units))
            plans = import_module("coremltools.models.compute_plan")
            return plans.MLComputePlan(PlanProxy(world))

        def get_compiled_model_path(self) -> str:
            return "compiled.mlmodelc"

        def predict(self, data: dict[str, Any], state: None) -> Outputs:
            world.calls.append(("predict", {name: type(value) for name, value in data.items()}))
            if world.failure:
                raise RuntimeError(world.failure)
            try:
                return world.bend(self.evaluator.run(data))
            except AttncError as error:
                raise RuntimeError(error.message) from error

    return ModelProxy


def install(patch: pytest.MonkeyPatch, **behaviour: Any) -> World:
    """This machine is a Mac until the patch is undone."""
    world = World(**behaviour)
    proxy = model_proxy(world)
    binding = ModuleType("coremltools.libcoremlpython")
    vars(binding).update(_MLModelProxy=proxy)
    patch.setitem(sys.modules, binding.__name__, binding)
    for name in ("model", "compute_plan"):
        patch.setattr(f"coremltools.models.{name}._MLModelProxy", proxy)
    patch.setattr("coremltools.models.compute_plan._MLComputePlanProxy", PlanProxy)
    kinds = {"CPU": CpuProxy, "GPU": GpuProxy, "NeuralEngine": NeuralEngineProxy}
    for name, kind in kinds.items():
        patch.setattr(f"coremltools.models.compute_device._ML{name}ComputeDeviceProxy", kind)
    for name in ("model", "utils"):
        patch.setattr(f"coremltools.models.{name}._macos_version", lambda: (15, 0))
    patch.setattr(platform, "system", lambda: "Darwin")
    patch.setattr(platform, "mac_ver", lambda: ("15.0", ("", "", ""), "arm64"))
    patch.setattr(device, "BINDING", "libmodelpackage")  # this one lies here, too
    return world


def array() -> Any:
    """An input of the small packages."""
    return np.random.default_rng(1).standard_normal((1, 3, 8, 6)).astype(np.float32)


def picture() -> Image.Image:
    """One for those that take pictures."""
    return Image.fromarray(seeded_pixels((8, 6, 3), 2))


def expected(package: Path, given: Any) -> Any:
    """The evaluator's logits, or its probabilities in the order of the classes."""
    opened = open_package(package)
    outputs = Evaluator(opened).run({"x": given})
    return numbers(outputs, opened.outputs, LABELS)
