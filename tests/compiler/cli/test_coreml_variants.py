"""Every listed model for Core ML: all lower for each iOS, and compute what they should.

`python -m pytest -m slow tests/compiler/cli/test_coreml_variants.py`: about two minutes for each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import attnc
from attnc.compiler.cli.emit_coreml import Recorder, takes_pictures
from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.trace import trace
from attnc.model_defs.registry import list_models
from attnc.passes.pipelines import default
from attnc.runtimes.coreml.package import Package, open_package
from attnc.runtimes.coreml.program import TensorType
from attnc.targets.coreml.emit import Wish, features_of, lower_for
from attnc.targets.coreml.package import convert, save

pytest.importorskip("coremltools")
pytestmark = pytest.mark.slow

#: Float16 for iOS 18 is the bundle's.
OTHERS = ((16, "fp32"), (16, "fp16"), (17, "fp32"), (17, "fp16"), (18, "fp32"))
MOST_AXES = 5


def largest_rank(package: Package) -> int:
    block = package.program.functions["main"].block
    kinds = [value.type for operation in block.walk() for value in operation.outputs]
    return max(len(kind.shape) for kind in kinds if isinstance(kind, TensorType))


@pytest.mark.parametrize("name", list_models())
def test_a_bundle_is_right(cli: Any, name: str, tmp_path: Path) -> None:
    """Float16 for iOS 18, and its float32 twin, on seeded pictures and photographs."""
    bundle = attnc.export(name, target="coreml", profile="iphone16", output=tmp_path / "b")
    report = json.loads(cli("verify", bundle.path, "--json", "-").out)
    assert [check for check in report["checks"] if check["status"] == "failed"] == []
    found = {check["name"]: check["status"] for check in report["checks"]}
    assert found["mlprogram.parity.fp32"] == "verified"
    assert largest_rank(open_package(bundle.path / "model.mlpackage")) <= MOST_AXES


@pytest.mark.parametrize("name", list_models())
def test_programs_for_each_ios(name: str, tmp_path: Path) -> None:
    """They are lowered, saved and read back."""
    traced = trace(name)
    run_pipeline(traced.model, default())
    rule = traced.preprocessing if takes_pictures(traced) else None
    record = Recorder(tuple(int(size) for size in traced.input.shape), rule)
    for ios, precision in OTHERS:
        model, wish = traced.model.clone(), Wish(precision, rule)

        lowered = lower_for(model, ios, wish, record)
        folder = tmp_path / f"{ios}{precision}"
        folder.mkdir()
        made = open_package(save(convert(lowered.program, ios, features_of(model, wish)), folder))
        assert largest_rank(made) <= MOST_AXES
        assert made.program.functions["main"].opset == ios
