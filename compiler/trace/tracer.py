"""Tells the kinds of sources apart and brings each through the same last steps."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import Preprocessing, SourceInfo, TensorSpec

from .hashing import hash_initializers, hash_state_dict
from .onnx_file import check_operators
from .opset import convert_opset
from .request import check_request, refuse_weight_options
from .shapes import infer_shapes, settle_input, the_input, the_outputs
from .tidy import tidy
from .traced import OPSET, Request, TracedModel

if TYPE_CHECKING:
    from torch import nn

_WEIGHT_FILES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".tar")


def _spec(value: ir.Value) -> TensorSpec:
    assert value.shape is not None
    assert value.dtype is not None
    sizes = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return TensorSpec(name=str(value.name), dtype=str(value.dtype.numpy()), shape=sizes)


def _traced(
    model: ir.Model,
    reference: nn.Module | Path,
    request: Request,
    source: SourceInfo,
    preprocessing: Preprocessing | None = None,
) -> TracedModel:
    """The last steps, the same for all: tidy, fixed input shape, our opset, specs."""
    tidy(model)
    the_input(model, source.name)
    check_operators(model, source.name)
    infer_shapes(model)
    convert_opset(model, OPSET)
    settle_input(model, source.name, request.image_size, request.batch)
    return TracedModel(
        model=model,
        reference=reference,
        input=_spec(model.graph.inputs[0]),
        outputs=tuple(_spec(value) for value in the_outputs(model, source.name)),
        preprocessing=preprocessing,
        source=source,
    )


def _trace_network(source: Any, request: Request) -> TracedModel:
    from . import network
    from .torch_export import export_module

    if not isinstance(source, str):
        net = network.from_module(source, request)
    elif ":" in source:
        net = network.from_factory(source, request)
    else:
        net = network.from_registry(source, request)
    model = export_module(net.module, net.name, net.image_size, request.batch, net.channels)
    return _traced(model, net.module, request, net.source, net.preprocessing)


def _trace_onnx(path: Path, request: Request) -> TracedModel:
    from .onnx_file import load_onnx

    refuse_weight_options(request, "an .onnx file")
    model = load_onnx(path)
    source = SourceInfo(kind="onnx", name=path.name, weights_sha256=hash_initializers(model.graph))
    return _traced(model, path, request, source)


def _trace_archive(path: Path, request: Request) -> TracedModel:
    from .archive import load_archive
    from .torch_export import export_program

    refuse_weight_options(request, "a torch.export archive")
    program = load_archive(path)
    source = SourceInfo(
        kind="exported-program",
        name=path.name,
        weights_sha256=hash_state_dict(program.state_dict),
    )
    model = export_program(program, path.name)
    return _traced(model, program.module(), request, source)


def trace_source(source: str | PathLike[str] | nn.Module, **options: Any) -> TracedModel:
    """See `attnc.compiler.trace.trace`."""
    request = check_request(**options)
    if not isinstance(source, (str, PathLike)):
        from torch import nn

        if isinstance(source, nn.Module):
            return _trace_network(source, request)
        raise UsageError(
            f"a {type(source).__name__} is no model",
            remedy="a listed name, a torch.nn.Module, package.module:factory, .onnx or .pt2",
        )
    text = fspath(source)
    suffix = Path(text).suffix.lower()
    if suffix == ".onnx":
        return _trace_onnx(Path(text), request)
    if suffix == ".pt2":
        return _trace_archive(Path(text), request)
    if suffix in _WEIGHT_FILES:
        raise UsageError(
            f"{text} holds weights, not a model",
            remedy=f"name the model they belong to: shvit_s4 --checkpoint {text}",
        )
    return _trace_network(text, request)
