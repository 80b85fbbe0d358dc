"""What the families of efficient attention cannot be: one message, its place, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

USAGE = 2


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("evit_small_k070", ["keep_rate=0"], ["keep rate 0 is not in (0, 1]", "1.0 keeps all"]),
        ("evit_small_k070", ["keep_rate=-0.5"], ["keep rate -0.5 is not in (0, 1]"]),
        ("evit_small_k070", ["keep_rate=1.01"], ["keep rate 1.01 is not in (0, 1]"]),
        ("evit_small_k070", ["keep_rate=most"], ["keep rate 'most' is not in (0, 1]"]),
        ("evit_small_k070", ["keep_rate=NaN"], ["keep rate nan is not in (0, 1]"]),
        ("evit_small_k070", ["keep_rate=[1,1,2,1,1,1,1,1,1,1,1,1]"], ["keep rate 2"]),
        ("evit_small_k070", ["keep_rate=[0.7,0.7]"], ["2 keep rates for 12 blocks", "each block"]),
        ("evit_small_k070", ["keep_rate=[]"], ["0 keep rates for 12 blocks"]),
        ("evit_small_k070", ["drop_loc=[3,12]"], ["no block 12", "blocks 0 to 11"]),
        ("sparsifiner_s", ["attn_keep_rate=0"], ["keep rate 0 is not in (0, 1]"]),
        ("sparsifiner_s", ["attn_keep_rate=1.5"], ["keep rate 1.5"]),
        ("sparsifiner_s_prune07", ["token_keep_rate=0"], ["keep rate 0 is not in (0, 1]"]),
        ("sparsifiner_s_prune07", ["token_pruning_loc=[3,99]"], ["no block 99"]),
        ("sparsifiner_s", ["coef_topk=50"], ["coef_topk 50 of 32", "1 to 32"]),
        ("sparsifiner_s", ["image_size=230"], ["230x230", "multiples of 16"]),
        ("sparsifiner_s", ["coef_topk=few"], ["coef_topk cannot be 'few'", "whole number"]),
        ("sparsifiner_s", ["reduce_n_factor=500"], ["no rank", "at most 197"]),
        ("tic_layer_c64_k3", ["kernel=[4,4]"], ["odd kernel, not [4, 4]", "3, 5 or 7"]),
        ("tic_layer_c64_k3", ["kernel=[3,2]"], ["odd kernel, not [3, 2]"]),
        ("tic_layer_c64_k3", ["kernel=3"], ["kernel needs 2 values, not 3", "[3, 3]"]),
        ("tic_layer_c64_k3", ["stride=half"], ["stride cannot be 'half'", "whole number"]),
        ("tic_tiny", ["kernels=[3,3,3,6]"], ["odd kernel, not 6", "3, 5 or 7"]),
        ("tic_tiny", ["kernels=[3,3]"], ["kernels needs one value per stage"]),
        ("glnet_4g", ["num_slots=50"], ["num_slots 50 is not a square", "49"]),
        ("glnet_4g", ["num_slots=0"], ["num_slots must be positive, not 0"]),
        ("glnet_4g", ["num_slots=many"], ["num_slots cannot be 'many'", "whole number"]),
        ("glnet_4g", ["dims=[64,128]"], ["dims needs four values"]),
    ],
)
def test_options(cli: Any, tmp_path: Path, model: str, options: list[str], said: list[str]) -> None:
    given = [part for option in options for part in ("--option", option)]
    refused(cli("export", model, *given, "-o", tmp_path / "out"), model, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        ("evit_small_k070", "8", ["8x8 pixels", "at least 16"]),
        ("evit_small_k070", "230", ["230x230", "multiples of 16"]),
        ("sparsifiner_s", "230", ["230x230", "multiples of 16"]),
        ("sparsifiner_s", "8", ["8x8", "at least 16"]),
        ("glnet_4g", "16", ["16x16", "at least 32"]),
        ("glnet_4g", "224x100", ["224x100", "multiples of 32"]),
        ("tic_tiny", "16", ["16x16", "at least 32"]),
    ],
)
def test_pictures_that_a_stage_cannot_take(
    cli: Any, tmp_path: Path, model: str, size: str, said: list[str]
) -> None:
    refused(cli("export", model, "--image-size", size, "-o", tmp_path / "out"), "", said)
    assert list(tmp_path.iterdir()) == []


def refused(done: Any, place: str, said: list[str]) -> None:
    """Exit code 2, one message that says `said`, names the place and ends with a remedy."""
    assert done.code == USAGE, done.err
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if not line.startswith("[")]
    assert sum(line.startswith("error:") for line in lines) == 1, done.err
    assert any(line.startswith("  try: ") for line in lines), done.err
    assert any(line.startswith("  at: ") and place in line for line in lines), done.err
    for text in said:
        assert text in done.err, done.err
