"""Who makes and who reads each value of a function: what one operation alone does not say."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from attnc.runtimes.coreml.program import Argument, Function, Operation, TensorType, Value


def is_constant(operation: Operation) -> bool:
    """Whether an operation only brings in stored data, plain or compressed."""
    return operation.type == "const" or operation.type.startswith("constexpr_")


class Graph:
    """The values of a function, those of nested blocks too."""

    def __init__(self, function: Function) -> None:
        """Reads the function once; values are known by their names."""
        self.operations = tuple(function.block.walk())
        self.inputs = frozenset(value.name for value in function.inputs)
        self.outputs = frozenset(function.block.outputs)
        self.producers: dict[str, Operation] = {}
        self.readers: dict[str, list[Operation]] = defaultdict(list)
        self._values: dict[str, Value] = {value.name: value for value in function.inputs}
        for operation in self.operations:
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        for value in operation.outputs:
            self.producers[value.name] = operation
            self._values[value.name] = value
        for many in operation.inputs.values():
            for argument in many:
                self.readers[argument.name].append(operation)

    def is_constant(self, argument: Argument) -> bool:
        """Whether an argument is known before the program runs."""
        producer = self.producers.get(argument.name)
        return not argument.name or (producer is not None and is_constant(producer))

    def given(self, operation: Operation, name: str) -> tuple[Argument, ...]:
        """The arguments of an input that are computed while the program runs."""
        many = operation.inputs.get(name, ())
        return tuple(argument for argument in many if not self.is_constant(argument))

    def constant(self, operation: Operation, name: str, default: Any = None) -> Any:
        """The constant that an input or attribute holds, `default` where there is none."""
        if name in operation.attributes:
            return operation.attributes[name]
        many = operation.inputs.get(name, ())
        if len(many) != 1:
            return default
        producer = self.producers.get(many[0].name)
        held = producer.attributes if producer is not None and producer.type == "const" else {}
        return held.get("val", default) if many[0].name else many[0].value

    def input_type(self, operation: Operation, name: str) -> TensorType | None:
        """The type of an input's first argument, None for a literal or what is no tensor."""
        many = operation.inputs.get(name, ())
        value = self._values.get(many[0].name) if many else None
        return value.type if value is not None and isinstance(value.type, TensorType) else None
