"""The kernels of an engine, from the text that the builder logs when profiling is DETAILED.

Without a GPU no engine can be opened, so this text is the only account of what was fused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MARK = "Layers:"
_LINE = re.compile(r"^Name: (?P<name>[^,]*), LayerType: (?P<type>[^,]*)")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_ATTENTION = re.compile(r"_mha|fmha|flash")
#: Kernels of TensorRT's compiler are named after their steps; these only move data.
_MOVES = frozenset({"Tran", "Move", "Resh", "Slic", "Conc", "Copy", "Repl"})
_STEPS = re.compile(r"^__myl_([A-Za-z]+)_")


@dataclass(frozen=True)
class Layer:
    """One kernel of the engine: its name, its kind, and the ONNX nodes that went into it."""

    name: str
    kind: str
    nodes: tuple[str, ...]

    @property
    def is_attention(self) -> bool:
        """A fused multi-head attention."""
        return _ATTENTION.search(self.name) is not None

    @property
    def is_plugin(self) -> bool:
        """A plugin, of whatever kind the builder calls it."""
        return self.kind in ("custom_layer", "PLUGIN_V3") or "plugin" in self.kind.lower()

    @property
    def only_moves(self) -> bool:
        """A kernel that does nothing but copy, turn or join."""
        found = _STEPS.match(self.name)
        if found is None:
            return self.kind.lower() == "reformat"
        return set(re.findall(r"[A-Z][a-z]*", found[1])) <= _MOVES


def parse_layers(text: str) -> list[Layer]:
    """The layers in the order in which they run. Raises ValueError if a line is not understood."""
    layers = []
    for line in text.strip().splitlines():
        if not line.startswith("Name: "):
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"not a layer of an engine: {line[:80]!r}")
        layers.append(Layer(match["name"], match["type"], tuple(_NODE.findall(line))))
    return layers


def attentions(layers: Sequence[Layer]) -> int:
    """How many fused attentions the engine runs."""
    return sum(layer.is_attention for layer in layers)


def plugins(layers: Sequence[Layer]) -> int:
    """How many plugins it runs."""
    return sum(layer.is_plugin for layer in layers)


def moves(layers: Sequence[Layer]) -> int:
    """How many kernels only move data."""
    return sum(layer.only_moves for layer in layers)
