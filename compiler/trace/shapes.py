"""Fixes the input shape of a graph as asked, and proves that a dynamic batch is one.

Exporters write the example's batch into reshapes without a word; shape inference with another
batch brings it to light before a user does.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.provenance import describe

from .quiet import quiet
from .traced import BATCH_NAME, Batch

# Unlikely to appear as a size in any network, hence to be confused with one.
_PROBE = 7919


def the_input(model: ir.Model, name: str) -> ir.Value:
    """The one input, [batch, channels, height, width] float32; UnsupportedError else."""
    inputs = model.graph.inputs
    if len(inputs) != 1:
        names = ", ".join(str(value.name) for value in inputs) or "none"
        raise UnsupportedError(
            f"{name} has {len(inputs)} inputs ({names}); one picture tensor is supported"
        )
    value = inputs[0]
    if value.shape is None or len(value.shape) != 4:
        raise UnsupportedError(
            f"the input {value.name} of {name} is not [batch, channels, height, width] but "
            f"{value.shape}"
        )
    if value.dtype != ir.DataType.FLOAT:
        raise UnsupportedError(
            f"the input {value.name} of {name} is {value.dtype}; float32 is supported",
            remedy="export the model in float32",
        )
    return value


def _fixed(size: object) -> int | None:
    return size if isinstance(size, int) else None


def _settle_space(
    value: ir.Value, name: str, image_size: tuple[int, int] | None
) -> tuple[int, int]:
    assert value.shape is not None
    settled = []
    for place, axis in ((2, "height"), (3, "width")):
        given, wanted = _fixed(value.shape[place]), image_size[place - 2] if image_size else None
        if given is None and wanted is None:
            raise UnsupportedError(
                f"the {axis} of {name} is dynamic (axis {place} of the input {value.name} is "
                f"{value.shape[place]}); kernels are built for a fixed image size",
                where=f"input {value.name}, axis {place}",
                remedy="fix it with --image-size, for example --image-size 224",
            )
        if given is not None and wanted is not None and given != wanted:
            raise UnsupportedError(
                f"{name} was exported for a {axis} of {given}, not {wanted}",
                where=f"input {value.name}, axis {place}",
                remedy="export it again at that size, or leave --image-size out",
            )
        settled.append(given if given is not None else wanted)
    return int(settled[0] or 0), int(settled[1] or 0)


def _settle_batch(value: ir.Value, name: str, batch: Batch) -> int | str:
    assert value.shape is not None
    given = _fixed(value.shape[0])
    if given is None:
        return BATCH_NAME if batch == "dynamic" else batch
    if given != batch:
        raise UnsupportedError(
            f"{name} was exported for a batch of {given}, not {batch}",
            where=f"input {value.name}, axis 0",
            remedy=f"--batch {given}, or export it again with a dynamic batch",
        )
    return given


def _forget_symbolic(model: ir.Model) -> None:
    """Drop inferred shapes that hold a symbol, which may just have got a value."""
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None and not value.shape.is_static():
                value.shape = None


def infer_shapes(model: ir.Model) -> None:
    """Fill in types and shapes by ONNX's inference, in place."""
    with quiet():
        common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    # onnx_ir brings a sequence back as a tensor, which the next inference would trip over.
    for node in model.graph.all_nodes():
        if node.op_type == "SplitToSequence":
            node.outputs[0].type = node.outputs[0].shape = None


def settle_input(
    model: ir.Model, name: str, image_size: tuple[int, int] | None, batch: Batch
) -> None:
    """Give the input the asked shape and re-infer all others; UnsupportedError where they clash."""
    value = the_input(model, name)
    assert value.shape is not None
    if _fixed(value.shape[1]) is None:
        raise UnsupportedError(f"the number of channels of {name} is dynamic (axis 1)")
    height, width = _settle_space(value, name, image_size)
    wanted = [_settle_batch(value, name, batch), value.shape[1], height, width]
    changed = list(value.shape) != wanted
    value.shape = ir.Shape(wanted)
    if changed:
        _forget_symbolic(model)
    infer_shapes(model)
    if batch == "dynamic":
        check_dynamic(model, name)


def _first_baked(model: ir.Model) -> ir.Node | None:
    """A reshape to a constant shape whose first entry is a positive number."""
    for node in model.graph:
        if node.op_type == "Reshape" and node.inputs[1] is not None:
            target = ir.convenience.get_const_tensor(node.inputs[1])
            computed = node.inputs[0] is not None and node.inputs[0].producer() is not None
            if target is not None and computed and target.size and target.numpy().flat[0] > 0:
                return node
    return None


def check_dynamic(model: ir.Model, name: str) -> None:
    """Infer all shapes for an odd batch; UnsupportedError if it does not reach the outputs."""
    probe = ir.to_proto(model)
    for value in [*probe.graph.input, *probe.graph.output]:
        value.type.tensor_type.shape.dim[0].Clear()
    probe.graph.input[0].type.tensor_type.shape.dim[0].dim_value = _PROBE
    del probe.graph.value_info[:]
    for value in probe.graph.output:
        value.type.tensor_type.ClearField("shape")
    sizes = _batches(probe)
    if any(size == 0 for size in sizes):  # unknown: the inference does not follow every operator
        sizes = _batches(_folded(probe))
    if any(size != _PROBE for size in sizes):
        baked = _first_baked(model)
        raise UnsupportedError(
            f"the batch of {name} is dynamic in name only: a fixed one is written into the graph",
            where=describe(baked) if baked else "",
            remedy="export it again with an example batch of 2 or more, or ask for that batch",
        )


def _batches(probe: onnx.ModelProto) -> list[int]:
    """First size of every output, 0 where the inference finds none."""
    try:
        probe = onnx.shape_inference.infer_shapes(probe, strict_mode=True, data_prop=True)
        return [value.type.tensor_type.shape.dim[0].dim_value for value in probe.graph.output]
    except (onnx.shape_inference.InferenceError, IndexError):
        return [0]


def _folded(probe: onnx.ModelProto) -> onnx.ModelProto:
    """The same with its arithmetic on sizes computed, as exporters leave it that fold nothing."""
    from onnxscript import optimizer

    model = ir.from_proto(probe)
    with quiet():
        optimizer.fold_constants(model, onnx_shape_inference=True)
    return ir.to_proto(model)


def the_outputs(model: ir.Model, name: str) -> list[ir.Value]:
    """The outputs, which must have known shapes; UsageError else."""
    for value in model.graph.outputs:
        if value.shape is None or value.dtype is None:
            raise UsageError(f"the shape of the output {value.name} of {name} cannot be inferred")
    return list(model.graph.outputs)
