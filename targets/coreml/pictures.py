"""Builds the preprocessing of pictures into the graph: its input becomes pixels from 0 to 255.

pixels -> conv(w / (255 std), b - w mean / std)      where the first convolution has no padding
pixels -> batch norm(255 mean, (255 std)^2) -> ...   elsewhere, as what is padded is zero afterwards
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from attnc.compiler.manifest import Preprocessing
from attnc.passes.graph import attribute, const, constant, is_fused, new_node, sole_user


def build_in(model: ir.Model, rule: Preprocessing) -> None:
    """In place. (pixels / 255 - mean) / std is what the graph took before."""
    graph = model.graph
    pixels = graph.inputs[0]
    mean, std = (np.asarray(part, np.float64) * 255 for part in (rule.mean, rule.std))
    first = sole_user(pixels)
    if first is None or not _takes_up(first, mean, std, graph):
        _normalise(graph, pixels, mean, std)


def _takes_up(node: ir.Node, mean: np.ndarray, std: np.ndarray, graph: ir.Graph) -> bool:
    """Whether the node is a convolution without padding, which then does it with its weights."""
    weight = const(node.inputs[1]) if len(node.inputs) > 2 else None
    bias = const(node.inputs[2]) if len(node.inputs) > 2 else None
    known = is_fused(node, "FusedConv", "FusedConvGelu") and attribute(node, "group") == 1
    if not known or weight is None or bias is None or any(attribute(node, "pads")):
        return False
    scaled = weight / std[None, :, None, None]
    shift = bias - (scaled * mean[None, :, None, None]).sum(axis=(1, 2, 3))
    for place, array in ((1, scaled), (2, shift)):
        made = constant(graph, array.astype(np.float32), f"{node.name}_pixels{place}")
        node.replace_input_with(place, made)
    return True


def _normalise(graph: ir.Graph, pixels: ir.Value, mean: np.ndarray, std: np.ndarray) -> None:
    users = [(use.node, use.idx) for use in pixels.uses()]
    ones, zeros = np.ones(len(mean), np.float32), np.zeros(len(mean), np.float32)
    parts = {"scale": ones, "shift": zeros, "mean": mean, "variance": std**2}
    inputs = [
        constant(graph, array.astype(np.float32), f"pixels_{name}") for name, array in parts.items()
    ]
    node = new_node("BatchNormalization", [pixels, *inputs], {"epsilon": 0.0}, like=pixels)
    node.name, node.outputs[0].name = "preprocessing", "normalised"
    graph.insert_before(graph[0], [node])
    for user, place in users:
        user.replace_input_with(place, node.outputs[0])
