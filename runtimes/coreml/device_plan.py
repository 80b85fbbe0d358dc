"""Where Core ML would run each operation of a package on this Mac: its compute plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.coreml.device import compute_unit, require, words
from attnc.runtimes.coreml.package import find_model

NEURAL_ENGINE, GPU, CPU, UNKNOWN = "neural-engine", "gpu", "cpu", "unknown"
#: By coremltools' class.
DEVICES = {
    "MLNeuralEngineComputeDevice": NEURAL_ENGINE,
    "MLGPUComputeDevice": GPU,
    "MLCPUComputeDevice": CPU,
}


@dataclass(frozen=True)
class Placed:
    """An operation, named by its first output, with the device that Core ML prefers.

    `cost` is its estimated share of the whole, 0..1; `supported` are the devices that could run
    it. The device is unknown where Core ML does not say.
    """

    name: str
    kind: str
    device: str
    cost: float
    supported: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All operations of a package but its constants, in the order of the program."""

    units: str
    operations: tuple[Placed, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Operations per device."""
        return dict(Counter(each.device for each in self.operations))

    @property
    def cost_shares(self) -> dict[str, float]:
        """The share of the estimated cost per device; empty if Core ML estimates none."""
        total = sum(each.cost for each in self.operations)
        costs: dict[str, float] = dict.fromkeys(self.counts, 0.0)
        for each in self.operations:
            costs[each.device] += each.cost
        return {device: cost / total for device, cost in costs.items()} if total else {}

    @property
    def elsewhere(self) -> tuple[Placed, ...]:
        """The operations that do not prefer the Neural Engine."""
        return tuple(each for each in self.operations if each.device != NEURAL_ENGINE)

    def as_json(self) -> dict[str, Any]:
        """The document of a report."""
        return {
            "units": self.units,
            "counts": self.counts,
            "cost_shares": {name: round(cost, 4) for name, cost in self.cost_shares.items()},
            "not_on_neural_engine": [asdict(each) for each in self.elsewhere],
        }


def placement(package_path: Path, units: str = "all") -> Plan:
    """Compile a package and ask for its plan; it takes macOS 14.4.

    Raises MissingRuntimeError where there is no Core ML, UsageError for a folder that is no
    package, UnsupportedError if Core ML makes no plan of it.
    """
    require()
    find_model(package_path)
    choice = compute_unit(units)
    # Core ML ends the process if it is asked for the plan of anything that is not compiled.
    with TemporaryDirectory(prefix="attnc-plan-") as folder:
        try:
            models = import_module("coremltools").models
            compiled = models.utils.compile_model(
                str(package_path), str(Path(folder) / "model.mlmodelc")
            )
            plan = models.compute_plan.MLComputePlan.load_from_path(compiled, compute_units=choice)
        except Exception as error:  # Core ML raises whatever it meets
            raise _no_plan(package_path, words(error)) from error
        return Plan(units, _placed(plan, package_path))


def _placed(plan: Any, path: Path) -> tuple[Placed, ...]:
    program = plan.model_structure.program
    if program is None or "main" not in program.functions:
        raise _no_plan(path, "it has no program with a function main")
    found = [_place(plan, each) for each in _walk(program.functions["main"].block)]
    placed = tuple(each for each in found if not _is_constant(each))
    if placed and all(each.device == UNKNOWN for each in placed):
        raise _no_plan(path, "it does not say of any operation where it would run")
    return placed


def _walk(block: Any) -> Iterator[Any]:
    """Every operation, those of nested blocks too."""
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _walk(inner)


def _place(plan: Any, operation: Any) -> Placed:
    usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
    cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
    return Placed(
        operation.outputs[0].name if operation.outputs else "",
        operation.operator_name,
        _device(usage.preferred_compute_device) if usage else UNKNOWN,
        float(cost.weight) if cost else 0.0,
        tuple(map(_device, usage.supported_compute_devices)) if usage else (),
    )


def _device(device: Any) -> str:
    return DEVICES.get(type(device).__name__, UNKNOWN)


def _is_constant(placed: Placed) -> bool:
    """Whether it is one that nothing runs: `const`, or `ios17.const`, or a packed `constexpr`."""
    kind = placed.kind.rpartition(".")[2]
    return kind == "const" or (kind.startswith("constexpr") and placed.device == UNKNOWN)


def _no_plan(path: Path, reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"Core ML makes no compute plan of {path.name}: {reason}",
        where=str(path),
        remedy="plans take macOS 14.4 or newer; for packages of older deployment targets there "
        "may be none, export for iOS 17 or newer",
    )
