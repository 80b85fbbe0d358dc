"""The plain export of a bundle's source, in the bundle's precision: what TensorRT's users have.

No pass of ours rewrites it; only its precision is brought into the graph, as TensorRT wants it.
"""

from __future__ import annotations

from pathlib import Path

from attnc.compiler.bundle import Bundle


def write_plain(bundle: Bundle, folder: Path) -> Path:
    """Write the plain export to `folder`; returns the file.

    Raises UnsupportedError or UsageError if the source is not to be had.
    """
    import onnx_ir as ir

    from attnc.compiler.cli.tensorrt_work import Recorder
    from attnc.compiler.pipeline import run_pipeline
    from attnc.compiler.source import trace_options
    from attnc.compiler.trace import trace
    from attnc.passes.clean.constants import ConstantsToInitializers
    from attnc.passes.clean.infer import InferShapes
    from attnc.targets.tensorrt.emit import convert

    options = trace_options(bundle)
    traced = trace(options.pop("source"), **options, batch=bundle.manifest.batch)
    run_pipeline(traced.model, [ConstantsToInitializers(), InferShapes()])
    convert(traced.model, bundle.manifest.precision, Recorder(traced))
    path = folder / "plain.onnx"
    ir.save(traced.model, path)
    return path
