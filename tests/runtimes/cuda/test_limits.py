"""What no launch can do is refused before, with the reason."""

from __future__ import annotations

import numpy as np

from attnc.compiler.ops import registry
from attnc.runtimes.cuda.kernels import KERNELS, kernel_of
from attnc.runtimes.cuda.launch import launch_of
from attnc.runtimes.cuda.limits import MOST_SHARED, refusal

ROWS = {"heads": 6, "dim": 64, "coef_topk": 9, "coef_threshold": 0.0, "keep": 100, "prune_rows": 0}
ROWS |= {"score_threshold": 0.0, "scale": 0.1, "coef_scale": 0.1}
TOKENS = {"heads": 6, "dim_qk": 64, "q_at": 0, "k_at": 384, "scale": 0.1, "keep": 100, "fuse": 1}
WINDOW = {"kernel_shape": [3, 3], "dilations": [1, 1], "shift": 0, "scale": 0.1}


def refused(name: str, shapes: list[tuple[int, ...]], **attributes: object) -> str:
    kernel = kernel_of(name)
    assert kernel is not None
    return refusal(kernel, shapes, attributes)


def rows(tokens: int) -> list[tuple[int, ...]]:
    return [(1, tokens, 1152), (1, 6, 32, 98), (32, 64), (32,), (98, tokens)]


def tokens_of(count: int) -> list[tuple[int, ...]]:
    return [(1, count, 384), (1, count, 1152), (1, count, 1152), (384,)]


def test_what_fits_is_not_refused() -> None:
    assert refused("SparseRows", rows(197), **ROWS) == ""
    assert refused("SelectTokens", tokens_of(197), **TOKENS) == ""
    assert refused("SelectTokens", tokens_of(3924), **TOKENS) == ""


def test_the_hard_inputs_fit() -> None:
    for kernel in KERNELS:
        for example in registry.get(kernel.operator).examples(np.random.default_rng(3)):
            shapes = [array.shape for array in example.inputs]
            assert refusal(kernel, shapes, example.attributes) == ""


def test_many_tokens_are_refused() -> None:
    said = refused("SparseRows", rows(2000), **ROWS)
    bytes_ = 16 * (64 + 32 + 98 + 2 * 2000)
    assert f"needs {bytes_} bytes of shared memory for a block and has 49152" in said
    assert said.endswith("the 2000 of axis 1 of qkv")
    assert refused("SelectTokens", tokens_of(4096), **TOKENS).endswith("the 4096 of axis 1 of x")


def test_static_memory_counts() -> None:
    kernel = kernel_of("SelectTokens")
    assert kernel is not None
    assert launch_of(kernel, tokens_of(4000), TOKENS).shared_bytes <= MOST_SHARED
    assert "50048 bytes" in refusal(kernel, tokens_of(4000), TOKENS)


def test_an_attribute_can_be_the_reason() -> None:
    said = refused("WindowAttention", [(1, 64, 64, 96)] * 2, **{**WINDOW, "kernel_shape": [63, 63]})
    assert said.endswith("most of them go with kernel_shape=[63, 63]")


def test_too_many_blocks_are_refused() -> None:
    shapes = [(70_000, 16, 32), (70_000, 4, 32)]
    said = refused("SlotCluster", shapes, scale=1.0)
    assert said == "the kernel needs 70000 blocks along z and has 65535"
    assert "along y" in refused("SlotDispatch", [(1, 4, 4), (1, 4, 9_000_000)])
