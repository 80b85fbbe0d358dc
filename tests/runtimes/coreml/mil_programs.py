"""One MIL operation as a saved package: built by coremltools, read and run by the evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.package import Package, open_package
from attnc.runtimes.coreml.program import Operation

ct = pytest.importorskip("coremltools")
mil = pytest.importorskip("coremltools.converters.mil")
types = pytest.importorskip("coremltools.converters.mil.mil.types")
mb = mil.Builder

Array = NDArray[Any]
#: Core ML takes no other types as inputs; the rest enter as int32 and are cast in the program.
PORTS = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}


@dataclass(frozen=True)
class Case:
    """An operation, how to build it from the program's inputs, and what it has to answer.

    `expected` gets the inputs with float32 and float16 widened to float64; it answers one
    array or a tuple of them. `tolerance` is relative to the largest expected magnitude.
    """

    operation: str
    build: Callable[..., Any]
    expected: Callable[..., Any]
    inputs: tuple[Array, ...]
    target: str = "iOS16"
    tolerance: float = 2e-6
    label: str = ""

    @property
    def id(self) -> str:
        """Name in test reports."""
        shapes = "-".join("x".join(map(str, array.shape)) or "0d" for array in self.inputs)
        return "-".join(filter(None, (self.operation, self.label, shapes, self.target)))


def cases(entries: Iterable[Case]) -> Any:
    """The decorator that runs a test once per case."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in entries])


def converted(
    folder: Path, build: Callable[..., Any], inputs: tuple[Array, ...], target: str
) -> Package:
    """Saves a program of `build` below `folder`, untouched by any pass, and opens it."""
    version = ct.target[target]
    ports = {
        f"x{index}": mb.placeholder(array.shape, dtype=_port(array))
        for index, array in enumerate(inputs)
    }
    program = mil.Program()
    with mil.Function(ports, version) as function:
        function.set_outputs(_body(build, inputs, list(function.inputs.values())))
    program.add_function("main", function)
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=version,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    path = folder / "model.mlpackage"
    model.save(str(path))
    return open_package(path)


def run(package: Package, inputs: tuple[Array, ...]) -> list[Array]:
    """What the evaluator answers, in the program's order of outputs."""
    feeds = {
        f"x{index}": array if array.dtype.name in PORTS else array.astype(np.int32)
        for index, array in enumerate(inputs)
    }
    answers = Evaluator(package).run(feeds)
    return [np.asarray(answers[output.name]) for output in package.outputs]


def check(case: Case, folder: Path) -> None:
    """Compares the evaluator with the formula of a case, element by element."""
    package = converted(folder, case.build, case.inputs, case.target)
    assert case.operation in {operation.type for operation in operations(package)}
    results = run(package, case.inputs)
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in case.inputs]
    expected = case.expected(*wide)
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert len(results) == len(expected)
    for result, wanted in zip(results, map(np.asarray, expected), strict=True):
        assert result.shape == wanted.shape
        assert (result.dtype.kind == "f") == (wanted.dtype.kind == "f")
        scale = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0))
        np.testing.assert_allclose(
            result.astype(np.float64),
            wanted.astype(np.float64),
            rtol=case.tolerance,
            atol=case.tolerance * scale if wanted.dtype.kind == "f" else 0,
        )


def operations(package: Package, function: str = "main") -> Iterator[Operation]:
    """Every operation of a function, those of nested blocks included."""
    yield from package.program.functions[function].block.walk()


def scalar(port: Any) -> Any:
    """The only element of a vector; Core ML takes no inputs without dimensions."""
    return mb.squeeze(x=port, axes=[0])


def numbers(seed: int) -> Callable[..., Array]:
    """A source of float32 arrays of a given shape, uniform between `low` and `high`."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int, low: float = -2.0, high: float = 2.0) -> Array:
        return np.asarray(generator.uniform(low, high, shape), np.float32)

    return draw


def integers(seed: int) -> Callable[..., Array]:
    """A source of int32 arrays of a given shape, from `low` up to but not including `high`."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int, low: int = -9, high: int = 10) -> Array:
        return np.asarray(generator.integers(low, high, shape), np.int32)

    return draw


def _port(array: Array) -> Any:
    return PORTS.get(array.dtype.name, types.int32)


def _body(build: Callable[..., Any], inputs: tuple[Array, ...], ports: list[Any]) -> list[Any]:
    given = [
        port if array.dtype.name in PORTS else mb.cast(x=port, dtype=array.dtype.name)
        for port, array in zip(ports, inputs, strict=True)
    ]
    results = build(*given)
    results = results if isinstance(results, list | tuple) else (results,)
    return [_outgoing(result) for result in results]


def _outgoing(result: Any) -> Any:
    """Core ML hands out floats and int32 only; anything else leaves through a cast."""
    if result.dtype in (types.fp32, types.fp16, types.int32):
        return result
    return mb.cast(x=result, dtype="int32")
