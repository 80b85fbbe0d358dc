"""The model file of a bundle, whatever its target: versions, producer, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

import attnc
from attnc.compiler.errors import UnsupportedError
from attnc.targets.profile import Profile

MODEL_FILE = "model.onnx"


def finish(model: ir.Model, profile: Profile) -> None:
    """Set versions and producer; refuse what the profile's runtime cannot read."""
    opset = model.graph.opset_imports.get("", profile.opset)
    if opset > profile.opset:
        raise UnsupportedError(
            f"the graph needs opset {opset}; profile {profile.name} reads up to {profile.opset}",
            remedy="export the model with a lower opset",
        )
    model.ir_version = min(model.ir_version or profile.ir_version, profile.ir_version)
    model.producer_name, model.producer_version = "attnc", attnc.__version__


def write_model(model: ir.Model, folder: Path) -> None:
    """Write `model.onnx`."""
    data = ir.serde.serialize_model(model).SerializeToString(deterministic=True)
    (folder / MODEL_FILE).write_bytes(data)
