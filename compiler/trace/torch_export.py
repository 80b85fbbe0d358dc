"""From a torch module, or an exported program, to ONNX through `torch.onnx.export(dynamo=True)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnc.compiler.errors import AttncError, UnsupportedError, UsageError
from attnc.model_defs.registry import ModelError

from .quiet import one_line, quiet
from .traced import INPUT_NAME, OPSET, OUTPUT_NAME, Batch

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    from torch import nn


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _refusal(error: Exception, name: str) -> AttncError:
    cause = _root_cause(error)
    if isinstance(cause, ModelError):  # its own check of the picture's size
        return UsageError(cause.message, where=cause.where or name, remedy=cause.remedy)
    return UnsupportedError(
        f"{name} cannot be traced: {one_line(cause)}",
        where=name,
        remedy="torch.onnx.export(model, ..., dynamo=True) on its own shows the whole report; "
        "an .onnx file written in another way is taken too",
    )


def _run(program: Any, arguments: tuple[Any, ...], name: str, **keywords: Any) -> ir.Model:
    import torch

    try:
        with quiet(), torch.no_grad():
            exported = torch.onnx.export(
                program,
                arguments,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                verbose=False,
                **keywords,
            )
    except Exception as error:  # the exporter fails in as many ways as networks differ
        raise _refusal(error, name) from error
    assert exported is not None  # only the exporter without dynamo returns nothing
    model: ir.Model = exported.model
    if len(model.graph.outputs) != 1:
        raise UnsupportedError(
            f"{name} returns {len(model.graph.outputs)} outputs; one tensor of logits is supported",
            where=name,
            remedy="wrap it in a module that returns the logits",
        )
    return model


def export_module(
    module: nn.Module, name: str, image_size: tuple[int, int], batch: Batch, channels: int = 3
) -> ir.Model:
    """Trace a float32 module in eval mode at a fixed image size; the batch may stay dynamic.

    Raises UnsupportedError, naming the exporter's reason.
    """
    import torch

    # An example of batch 1 would be baked into reshapes as a constant 1, without any error.
    size = 2 if batch == "dynamic" else batch
    example = torch.zeros(size, channels, *image_size)
    shapes = ({0: torch.export.Dim.DYNAMIC},) if batch == "dynamic" else None
    return _run(module, (example,), name, dynamic_shapes=shapes)


def export_program(program: torch.export.ExportedProgram, name: str) -> ir.Model:
    """Translate a `torch.export` program; its shapes are as they were exported."""
    return _run(program, (), name)
