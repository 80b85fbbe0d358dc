"""Runs a package's program operation by operation, by what the operations are documented to do.

It judges models where Core ML is not at hand, and knows nothing of how they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from attnc.compiler.errors import AttncError, UnsupportedError, UsageError
from attnc.runtimes.coreml.arguments import VARIADIC, accept
from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.ops.table import TABLE
from attnc.runtimes.coreml.package import Package
from attnc.runtimes.coreml.program import Argument, Block, Function, Operation
from attnc.runtimes.coreml.results import settle
from attnc.runtimes.coreml.types import Array

Watch: TypeAlias = Callable[[Operation, tuple[Array, ...]], None]
Scope: TypeAlias = dict[str, Any]


class Evaluator:
    """Evaluates one function of a package; its constants are unpacked by the first run, once."""

    def __init__(self, package: Package, function: str = "main") -> None:
        """Raises UsageError for a function that the package lacks."""
        if function not in package.program.functions:
            raise UsageError(
                f"the package has no function '{function}'",
                where=str(package.path),
                remedy=f"its functions are {', '.join(package.program.functions)}",
            )
        self.package = package
        self.function: Function = package.program.functions[function]
        self._constants: dict[int, tuple[Any, ...]] = {}

    def run(
        self,
        inputs: Mapping[str, Array | Image.Image],
        watch: Watch | None = None,
    ) -> dict[str, Any]:
        """The outputs by name: arrays, and for a classifier its label and its probabilities.

        `watch` sees every operation but constants with its results, in order. Raises
        UnsupportedError for an operation that the evaluator does not know, before any is run;
        UsageError for inputs that do not fit; ParityError where an operation gives another type
        or shape than the program declares.
        """
        self._check_known()
        scope = accept(inputs, self.function, self.package)
        with np.errstate(all="ignore"):
            results = self._run_block(self.function.block, scope, watch)
        labels = {output.name for output in self.package.outputs if output.kind == "label"}
        pairs = zip(self.function.block.outputs, results, strict=True)
        return {name: plain(value) if name in labels else value for name, value in pairs}

    def _check_known(self) -> None:
        for operation in self.function.block.walk():
            if operation.type not in TABLE:
                raise UnsupportedError(
                    f"the evaluator does not know the {operation}",
                    where=f"{self.package.path}, operation set of iOS {self.function.opset}",
                    remedy="evaluate the model on a device with Core ML",
                )

    def _run_block(self, block: Block, scope: Scope, watch: Watch | None) -> tuple[Any, ...]:
        for operation in block.operations:
            if is_constant(operation):
                results = self._constant(operation, scope, watch)
            else:
                results = self._run_operation(operation, scope, watch)
            scope.update(zip((value.name for value in operation.outputs), results, strict=True))
            if watch is not None and operation.type != "const":
                watch(operation, results)
        return tuple(lookup(scope, name, "a block's output") for name in block.outputs)

    def _constant(self, operation: Operation, scope: Scope, watch: Watch | None) -> tuple[Any, ...]:
        known = id(operation)  # the package keeps its operations
        if known not in self._constants:
            self._constants[known] = self._run_operation(operation, scope, watch)
        return self._constants[known]

    def _run_operation(
        self, operation: Operation, scope: Scope, watch: Watch | None
    ) -> tuple[Any, ...]:
        types = tuple(value.type for value in operation.outputs)
        run = partial(self._run_nested, operation, scope, watch)
        values = gather(operation, scope)
        call = Call(operation.type, operation.name, values, types, self.function.opset, run)
        try:
            return settle(operation, call, TABLE[operation.type](call))
        except AttncError:
            raise
        except Exception as error:  # whatever fails inside, a foreign program's arguments did it
            raise UsageError(
                f"the {operation} cannot be evaluated: {error}",
                where=str(self.package.path),
                remedy="convert the model again; its arguments do not fit each other",
            ) from error

    def _run_nested(
        self,
        operation: Operation,
        scope: Scope,
        watch: Watch | None,
        index: int,
        values: Sequence[Any],
    ) -> tuple[Any, ...]:
        block = operation.blocks[index]
        names = (value.name for value in block.inputs)
        return self._run_block(block, scope | dict(zip(names, values, strict=True)), watch)


def is_constant(operation: Operation) -> bool:
    """Whether its results are the same in every run: the operation set allows these nothing but
    constants to read."""
    return operation.type == "const" or operation.type.startswith("constexpr_")


def plain(label: Any) -> Any:
    """A label as a str or an int."""
    return label.item() if isinstance(label, np.ndarray) else label


def gather(operation: Operation, scope: Scope) -> dict[str, Any]:
    """The operation's attributes and inputs by name."""
    values = dict(operation.attributes)
    for name, arguments in operation.inputs.items():
        many = [resolve(each, scope, operation) for each in arguments]
        variadic = len(many) != 1 or name in VARIADIC.get(operation.type, ())
        values[name] = many if variadic else many[0]
    return values


def resolve(argument: Argument, scope: Scope, operation: Operation) -> Any:
    """The value that an argument names or holds."""
    return lookup(scope, argument.name, str(operation)) if argument.name else argument.value


def lookup(scope: Scope, name: str, where: str) -> Any:
    """A value by name; UsageError where nothing has defined it."""
    if name not in scope:
        raise UsageError(
            f"the program reads '{name}' before anything defines it",
            where=where,
            remedy="convert the model again",
        )
    return scope[name]
