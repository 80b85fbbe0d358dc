"""Where a node comes from: the torch module and the source lines that made it.

Passes copy it to what they put in place of a node, so that profiles, near-misses and errors speak
in module names. Traced models carry two short keys of ours, other files what their exporter left.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, MutableMapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

MODULE_KEY = "attnc.module"
# Call chain of the model's own code, outermost first: "shvit.py:221 > shvit.py:139".
SOURCE_KEY = "attnc.source"
_ARROW = " > "

_SCOPES_KEY = "pkg.torch.onnx.name_scopes"
_STACK_KEY = "pkg.torch.onnx.stack_trace"
_EXPORTER_KEYS = ("pkg.torch.", "pkg.onnxscript.", "namespace")
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_TORCH_FILE = re.compile(r"(^|[/\\])torch[/\\](nn|_\w+|utils|functional|fx|export)\b")


def _scope_of_dynamo(text: str) -> str:
    """The innermost module of "['', 'blocks1', 'blocks1.0', 'relu_3']"; the last is the call."""
    try:
        scopes = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return ""
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""


def _scope_of_name(name: str) -> str:
    """The module in a name of the TorchScript exporter: "/blocks1/blocks1.0/conv/m/c/Conv"."""
    if not name.startswith("/"):
        return ""
    path = ""
    for part in name.split("/")[1:-1]:
        # A Sequential repeats its own name before the index: "/stages/stages.1".
        parent, _, last = path.rpartition(".")
        if path and part.startswith(path + "."):
            path = part
        elif last and part.startswith(last + "."):
            path = f"{parent}.{part}".lstrip(".")
        else:
            path = f"{path}.{part}".lstrip(".")
    return path


def _chain_of_stack(text: str) -> list[str]:
    frames = [
        (path, re.split(r"[/\\]", path)[-1] + ":" + line) for path, line in _FRAME.findall(text)
    ]
    own = [short for path, short in frames if not _TORCH_FILE.search(path)]
    return own or [short for _, short in frames[-1:]]


def torch_module(node: ir.Node) -> str:
    """Dotted name of the torch module that the node belongs to; "" if unknown or the root."""
    props = node.metadata_props
    if MODULE_KEY in props:
        return props[MODULE_KEY]
    return _scope_of_dynamo(props.get(_SCOPES_KEY, "")) or _scope_of_name(node.name or "")


def source_chain(node: ir.Node) -> list[str]:
    """Lines of the model's own code that led to the node, outermost first: ["net.py:12"]."""
    props = node.metadata_props
    if SOURCE_KEY in props:
        return props[SOURCE_KEY].split(_ARROW)
    return _chain_of_stack(props.get(_STACK_KEY, ""))


def source_line(node: ir.Node) -> str:
    """The innermost line of the model's own code that made the node, "net.py:12"; "" if unknown."""
    return "".join(source_chain(node)[-1:])


def describe(node: ir.Node) -> str:
    """One line for messages: operator, name, torch module and source line, as far as known."""
    domain = f"{node.domain}::" if node.domain else ""
    place = ", ".join(part for part in (torch_module(node), source_line(node)) if part)
    return f"{domain}{node.op_type} {node.name or '(unnamed)'}" + (f" ({place})" if place else "")


def _common(chains: Iterable[Sequence[str]]) -> list[str]:
    known = [chain for chain in chains if chain]
    if not known:
        return []
    levels = zip(*known, strict=False)
    return [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]


def copy_metadata(old_nodes: Iterable[ir.Node], new_nodes: Iterable[ir.Node]) -> None:
    """Give the replacing nodes the innermost module and lines that all replaced ones share."""
    old = list(old_nodes)
    module = ".".join(_common(torch_module(node).split(".") for node in old if torch_module(node)))
    chain = _common(source_chain(node) for node in old)
    for node in new_nodes:
        _store(node.metadata_props, module, chain)


def _store(props: MutableMapping[str, str], module: str, chain: Sequence[str]) -> None:
    if module:
        props[MODULE_KEY] = module
    if chain:
        props[SOURCE_KEY] = _ARROW.join(chain)


def compact(node: ir.Node) -> None:
    """Put our two short keys in place of the exporter's, which hold this machine's folders."""
    module, chain = torch_module(node), source_chain(node)
    for key in [key for key in node.metadata_props if key.startswith(_EXPORTER_KEYS)]:
        del node.metadata_props[key]
    _store(node.metadata_props, module, chain)
