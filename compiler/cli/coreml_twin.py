"""A Core ML bundle's source lowered once more, in float32: what `attnc verify` compares as well."""

from __future__ import annotations

from pathlib import Path

from attnc.compiler.bundle import Bundle


def write_twin(bundle: Bundle, folder: Path) -> Path:
    """Write the float32 package to `folder`; returns its path.

    Raises UnsupportedError or UsageError if the source is not to be had.
    """
    from attnc.compiler.pipeline import run_pipeline
    from attnc.compiler.source import trace_options
    from attnc.compiler.trace import trace
    from attnc.passes.pipelines import default
    from attnc.targets.coreml.emit import Wish, features_of, lower_for
    from attnc.targets.coreml.package import convert, save

    entry = bundle.manifest.coreml
    assert entry is not None
    options = trace_options(bundle)
    traced = trace(options.pop("source"), **options, batch=bundle.manifest.batch)
    run_pipeline(traced.model, default())
    picture = bundle.manifest.preprocessing if entry.input == "image" else None
    wish = Wish("fp32", picture)
    lowered = lower_for(traced.model, entry.ios, wish, lambda path: {})
    features = features_of(traced.model, wish)
    return save(convert(lowered.program, entry.ios, features), folder)
