"""Whole EViTs as bundles against the recorded float64 logits, on every instruction set here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data.fill import make_input
from golden_files import GOLDEN, fill

import attnc
from attnc.runtimes.cpu.library import cpu_features

FACTS = json.loads((GOLDEN / "facts_evit.json").read_text())
FAST = {"evit_tiny_k070_fuse"}
VARIANTS = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in sorted(FACTS)
    if "base" not in name
]
LIMIT = 5e-5  # of the specification, for logits of a standard deviation of about one


def filled(name: str):
    """The model with the weights of the recording; keys are kept once for each backbone."""
    keys = GOLDEN / f"keys_{name.removesuffix('_fuse')}.json"
    if not keys.exists():
        keys = GOLDEN / f"keys_evit_{name.split('_')[1]}_k100.json"
    recorded = json.loads(keys.read_text())
    return fill(attnc.build_model(name), {key: tuple(size) for key, size in recorded.items()})


@pytest.mark.parametrize("name", VARIANTS)
def test_bundle_gives_the_recorded_logits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = np.load(GOLDEN / f"golden_{name}.npz")
    shape = tuple(FACTS[name]["input_shape"])
    x = make_input(shape, FACTS[name]["seed"])
    bundle = attnc.export(
        filled(name), output=tmp_path / "b", image_size=shape[2:], batch="dynamic", measure=False
    )
    (feed,), (out,) = bundle.manifest.inputs, bundle.manifest.outputs
    for isa in cpu_features():
        monkeypatch.setenv("ATTNC_CPU_ISA", isa)
        got = attnc.open(tmp_path / "b", threads=2).run({feed.name: x})[out.name]
        assert np.abs(got - recorded["logits64"]).max() <= LIMIT, isa
