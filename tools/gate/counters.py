"""Counters of a bundle: what does not vary from run to run and is gated exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnc.compiler.bundle import KERNEL_FOLDER, LABELS_FILE, README_FILE, REFERENCE_FOLDER, Bundle
from attnc.compiler.errors import AttncError

if TYPE_CHECKING:
    import onnx_ir as ir

PREFIX = "attnc::"
Counted = dict[str, float]


def count(bundle: Bundle) -> Counted:
    """Counters by name; what the target does not have, or no fixed shape tells, is left out.

    `nodes` and `kernels` (fused operators, or TensorRT's kernels) are of the target's own program,
    `fused_share` is the share of fused operators, `flops` and `traffic_bytes` are of `model.onnx`,
    `file_bytes` of all files, `model_bytes` of those that hold the model.
    """
    return {**_nodes(bundle), **_arithmetic(bundle), **_sizes(bundle)}


def _nodes(bundle: Bundle) -> Counted:
    manifest = bundle.manifest
    operators = manifest.operators
    found: Counted = {"nodes": sum(operators.values())}
    if manifest.web is not None:
        operators = {name.replace("attnc.", PREFIX): n for name, n in manifest.web.steps.items()}
        found["nodes"] = sum(operators.values())
    fused = sum(n for name, n in operators.items() if name.startswith(PREFIX))
    if operators:
        found["fused_share"] = round(fused / sum(operators.values()), 6)
    if manifest.coreml is not None:
        found["nodes"] = sum(manifest.coreml.operations.values())
    elif manifest.tensorrt is not None:
        if manifest.tensorrt.builds:
            found["kernels"] = max(build.kernels for build in manifest.tensorrt.builds)
    else:
        found["kernels"] = fused
    return found


def _arithmetic(bundle: Bundle) -> Counted:
    if not bundle.model_path.is_file():
        return {}
    import onnx_ir as ir

    from attnc.compiler.ops.flops import graph_flops

    try:
        model = ir.load(bundle.model_path)
        return {"flops": graph_flops(model), "traffic_bytes": traffic(model)}
    except AttncError:  # a size is free
        return {}


def traffic(model: ir.Model) -> int:
    """Bytes that the nodes of a graph read and write at least: weights once, maps in and out.

    Raises UnsupportedError if a fused operator's shapes are unknown.
    """
    from attnc.compiler.ops.base import DOMAIN
    from attnc.compiler.ops.registry import get

    known: dict[ir.Value | None, tuple[int, ...]] = {}
    total = 0
    for node in model.graph:
        if node.domain == DOMAIN:
            operator = get(node.op_type)
            attributes = {name: a.value for name, a in node.attributes.items()}
            shapes = [known.get(value) or _shape(value) or (0,) for value in node.inputs]
            found = operator.output_shapes(shapes, attributes)
            known.update(zip(node.outputs, found, strict=False))
            total += operator.cost(shapes, attributes).bytes
            continue
        for value in (*node.inputs, *node.outputs):
            total += _bytes(value, known.get(value) or _shape(value))
    return total


def _shape(value: ir.Value | None) -> tuple[int, ...] | None:
    if value is None or value.shape is None:
        return None
    sides = tuple(side for side in value.shape if isinstance(side, int))
    return sides if len(sides) == len(value.shape) else None


def _bytes(value: ir.Value | None, shape: tuple[int, ...] | None) -> int:
    if value is None or shape is None:
        return 0
    size = value.dtype.itemsize if value.dtype is not None else 4
    elements = 1
    for side in shape:
        elements *= side
    return int(elements * size)


def _sizes(bundle: Bundle) -> Counted:
    files = bundle.manifest.files
    outside = (KERNEL_FOLDER + "/", REFERENCE_FOLDER + "/", README_FILE, LABELS_FILE)
    return {
        "file_bytes": sum(entry.bytes for entry in files),
        "model_bytes": sum(e.bytes for e in files if not e.path.startswith(outside)),
    }
