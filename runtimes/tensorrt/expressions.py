"""The size expressions of a kernel, checked and put in order for the templates.

An expression is the same text in Python and in C++, so nothing is translated here: this finds
out which names an expression needs, where each comes from, and refuses what one of the two
languages, or TensorRT's symbolic sizes, would not understand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from attnc.runtimes.cuda.launch import FUNCTIONS, CudaKernel

_INPUT = re.compile(r"in(\d+)_(\d+)")
_ARITHMETIC = (ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.UnaryOp, ast.USub)
_ALLOWED = (*_ARITHMETIC, ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant)


@dataclass(frozen=True)
class Binding:
    """Where a name of an expression comes from.

    `kind` is "input" (size `index` of input `number`), "attribute", "item" (entry `index` of the
    attribute `of`) or "size" (the result of the expression `text`).
    """

    name: str
    kind: str
    number: int = 0
    index: int = 0
    of: str = ""
    text: str = ""


def names_in(text: str) -> list[str]:
    """The names an expression reads, in order; ValueError if it is not a size expression."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no size expression: {error.msg}") from None
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found: list[str] = []
    for node in ast.walk(tree):
        _check(node, text)
        if isinstance(node, ast.Name) and id(node) not in called and node.id not in found:
            found.append(node.id)
    return found


def _check(node: ast.AST, text: str) -> None:
    if not isinstance(node, _ALLOWED):
        raise ValueError(f"{text!r}: sizes have no {type(node).__name__}")
    if isinstance(node, ast.Constant) and type(node.value) is not int:
        raise ValueError(f"{text!r}: {node.value!r} is not an integer")
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) not in FUNCTIONS:
        raise ValueError(f"{text!r}: the functions are {', '.join(FUNCTIONS)}")


def bindings(
    kernel: CudaKernel, attributes: Mapping[str, str], texts: Iterable[str]
) -> list[Binding]:
    """All that these expressions of a kernel need, each after what it needs itself."""
    found: dict[str, Binding] = {}

    def need(text: str) -> None:
        for name in names_in(text):
            if name not in found:
                binding = _binding(kernel, attributes, name)
                need(binding.text or "0")
                found[name] = binding

    for text in texts:
        need(text)
    known = (list(attributes), list(kernel.sizes))
    return sorted(found.values(), key=lambda binding: _order(binding, *known))


def _order(binding: Binding, attributes: list[str], sizes: list[str]) -> tuple[int, int, int]:
    """Inputs first, then attributes, then sizes, each in the order in which they were given."""
    if binding.kind == "input":
        return 0, binding.number, binding.index
    if binding.kind == "size":
        return 2, sizes.index(binding.name), 0
    return 1, attributes.index(binding.of or binding.name), binding.index


def _binding(kernel: CudaKernel, attributes: Mapping[str, str], name: str) -> Binding:
    if name in kernel.sizes:
        return Binding(name, "size", text=kernel.sizes[name])
    if name in attributes and attributes[name] != "ints":
        return Binding(name, "attribute")
    of, _, index = name.rpartition("_")
    if attributes.get(of) == "ints" and index.isdigit():
        return Binding(name, "item", index=int(index), of=of)
    if match := _INPUT.fullmatch(name):
        return Binding(name, "input", number=int(match[1]), index=int(match[2]))
    raise ValueError(f"{kernel.operator}: nothing is called {name!r}")
