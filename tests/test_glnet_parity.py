"""Whole GLNets through kernels and bundles: every instruction set of this CPU, any batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data.fill import make_input
from golden_files import GOLDEN, fill, keys_of

import attnc
from attnc.model_defs.registry import build_model
from attnc.runtimes.cpu.library import cpu_features

FACTS = json.loads((GOLDEN / "facts_glmix.json").read_text())
LIMIT = 1e-4
TINY = {"dims": (32, 32, 64, 64), "depths": (1, 1, 2, 1), "mlp_ratio": 2}
NAMES = ("glnet_stl", "glnet_stl_paramslot", "glnet_4g", "glnet_9g", "glnet_16g")
NAMES += ("glnet_4g_tklb", "glnet_9g_tklb")
FAST = ("glnet_stl",)


def check(name: str, options: dict, size: tuple[int, int], batches, folder, monkeypatch) -> None:
    bundle = folder / "b"
    attnc.export(
        name, output=bundle, image_size=size, batch="dynamic", options=options, measure=False
    )
    model = build_model(name, **options)
    for batch in batches:
        x = np.random.default_rng(batch).standard_normal((batch, 3, *size), np.float32)
        want = model(torch.from_numpy(x)).detach().numpy()
        for isa in cpu_features():
            monkeypatch.setenv("ATTNC_CPU_ISA", isa)
            got = attnc.open(bundle, threads=2).run({"input": x})["logits"]
            error = np.abs(got - want).max() / np.abs(want).max()
            assert error <= LIMIT, (isa, batch)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NAMES]
)
def test_small_bundles_compute_what_torch_computes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(name, TINY, (96, 160), (1, 3), tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_bundle_gives_the_recorded_logits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, recorded = FACTS[name], np.load(GOLDEN / f"golden_{name}.npz")
    model = fill(build_model(name), keys_of(name))
    attnc.export(model, output=tmp_path / "b", image_size=224, measure=False)
    x = make_input(facts["input_shape"], facts["seed"])
    for isa in cpu_features():
        monkeypatch.setenv("ATTNC_CPU_ISA", isa)
        rows = [attnc.open(tmp_path / "b").run({"input": row[None]})["logits"] for row in x]
        error = np.abs(np.concatenate(rows) - recorded["logits64"]).max()
        assert error <= 5e-5 * facts["logits_std"], isa
