"""Whole fused Sparsifiners in float64 against the recorded outputs of the official code.

In float64 near-ties are no excuse: the fused graph chooses the same keys, and the same tokens.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from data.fill import make_input
from golden_files import GOLDEN, fill, keys_of

from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.trace import trace
from attnc.model_defs.sparsifiner import create
from attnc.passes import pipelines
from attnc.passes.sparse.sparse_attention import FuseSparseAttention
from attnc.runtimes.proof.float64 import compute64

FACTS = json.loads((GOLDEN / "facts_sparsifiner.json").read_text())
#: Folded factors are rounded to float32, as all weights are.
LIMIT = 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FACTS))
def test_fused_graph_is_the_official_code(name: str) -> None:
    facts = FACTS[name]
    recorded = np.load(GOLDEN / f"golden_{name}.npz")
    network = fill(create(name).eval().requires_grad_(False), keys_of(name))
    x = make_input(facts["input_shape"], facts["seed"])
    model = trace(network, batch=x.shape[0], image_size=x.shape[2]).model
    run_pipeline(model, [*pipelines.clean(), *pipelines.canonical()])
    assert FuseSparseAttention().run(model).matches == len(network.blocks)
    (logits,) = compute64(model, {model.graph.inputs[0].name: x})
    assert np.abs(logits - recorded["logits64"]).max() < LIMIT
