"""What a package is made of, in numbers: operations by kind, constants by type, ports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.features import Feature
from attnc.runtimes.coreml.graph import is_constant
from attnc.runtimes.coreml.listing import dtype_name
from attnc.runtimes.coreml.package import Package
from attnc.runtimes.coreml.program import Function, Operation, TensorType
from attnc.runtimes.coreml.types import PACKED_BITS


@dataclass(frozen=True)
class Summary:
    """`operations` and `constants` count kinds; `weights` are bytes by data type."""

    specification_version: int
    opset: int
    operations: Mapping[str, int]
    constants: Mapping[str, int]
    weights: Mapping[str, int]
    largest_rank: int
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    metadata: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def summarise(package: Package, function: str = "main") -> Summary:
    """The summary of one function; UsageError where the package lacks it."""
    chosen = find_function(package, function)
    operations = list(chosen.block.walk())
    computing = [operation for operation in operations if not is_constant(operation)]
    return Summary(
        package.specification_version,
        chosen.opset,
        _count(computing),
        _count(operation for operation in operations if is_constant(operation)),
        _weights(operations),
        max((rank for operation in computing for rank in _ranks(operation)), default=0),
        package.inputs,
        package.outputs,
        package.metadata,
    )


def find_function(package: Package, name: str) -> Function:
    """A function by name; UsageError where the package lacks it."""
    if name not in package.program.functions:
        raise UsageError(
            f"the package has no function '{name}'",
            where=str(package.path),
            remedy=f"its functions are {', '.join(package.program.functions)}",
        )
    return package.program.functions[name]


def _count(operations: Iterable[Operation]) -> dict[str, int]:
    return dict(Counter(operation.type for operation in operations).most_common())


def _weights(operations: list[Operation]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for operation in operations:
        for dtype, size in _stored(operation):
            total[dtype] += size
    return dict(total.most_common())


def _stored(operation: Operation) -> Iterator[tuple[str, int]]:
    """Data type and bytes of what an operation holds; packed types take their bits only."""
    for value, declared in _literals(operation):
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            dtype = declared or dtype_name(value)
            bits = PACKED_BITS.get(dtype, value.itemsize * 8)
            yield dtype, (value.size * bits + 7) // 8


def _literals(operation: Operation) -> Iterator[tuple[Any, str]]:
    """What an operation holds, and the data type where that is declared."""
    type_ = operation.outputs[0].type if operation.type == "const" else None
    declared = type_.dtype if isinstance(type_, TensorType) else ""
    yield from ((value, declared) for value in operation.attributes.values())
    for many in operation.inputs.values():
        yield from ((argument.value, argument.dtype) for argument in many)


def _ranks(operation: Operation) -> Iterator[int]:
    for value in operation.outputs:
        if isinstance(value.type, TensorType):
            yield len(value.type.shape)
