"""All CUDA kernels, in one list."""

from __future__ import annotations

from dataclasses import replace

from attnc.runtimes.cuda.launch import CudaKernel

#: Of `mix_rows.cuh`: threads of a block and its warps, channels of a block.
_MIX_BLOCK, _MIX_WARPS, _MIX_CHUNK = 128, 4, 128
#: And the bytes of its tile of values with its weights, and of its tiles of keys and queries.
_MIX_SHARED, _SCORE_SHARED = 17408, 5760

MAP_ATTENTION = CudaKernel(
    operator="MapAttention",
    entry="map_attention",
    source="map_attention.cu",
    sizes={"tokens": "in1_1 * in1_2"},
    scalars=(
        "tokens",
        "in1_3",
        "dim_qk",
        "dim_v",
        "float_bits(scale)",
        "float_bits(min)",
        "float_bits(max)",
    ),
    outputs=(("in1_0", "in1_1", "in1_2", "in1_3"),),
    grid=(f"ceil_div(tokens, {2 * _MIX_WARPS})", f"ceil_div(in1_3, {_MIX_CHUNK})", "in1_0"),
    block=_MIX_BLOCK,
    static_bytes=_MIX_SHARED + _SCORE_SHARED,
)

#: Of `slot_cluster.cuh`: slots of a block, and the floats that its warps leave for each other.
_SLOTS, _FOUND = 2, 16 * 2 * 130

SLOT_CLUSTER = CudaKernel(
    operator="SlotCluster",
    entry="slot_cluster",
    source="slots.cu",
    scalars=("in0_1", "in1_1", "in0_2", "in1_0", "float_bits(scale)"),
    outputs=(("in0_0", "in1_1", "in0_2"), ("in0_0", "in0_1", "in1_1")),
    grid=(f"ceil_div(in1_1, {_SLOTS})", f"ceil_div(in0_2, {_MIX_CHUNK})", "in0_0"),
    block=512,
    shared_bytes=f"4 * imax({_SLOTS} * in0_2, {_FOUND})",
    static_bytes=4096,
)

POOLED_SLOT_CLUSTER = CudaKernel(
    operator="PooledSlotCluster",
    entry="pooled_slot_cluster",
    source="slots.cu",
    sizes={"slots": "grid_0 * grid_1"},
    scalars=(
        "in0_1",
        "in0_2",
        "in1_1",
        "in1_2",
        "grid_0",
        "grid_1",
        "float_bits(scale)",
    ),
    outputs=(("in0_0", "slots", "in0_2"), ("in0_0", "in0_1", "slots")),
    grid=(f"ceil_div(slots, {_SLOTS})", f"ceil_div(in0_2, {_MIX_CHUNK})", "in0_0"),
    block=512,
    shared_bytes=f"4 * imax({_SLOTS} * in0_2, {_FOUND})",
    static_bytes=4096,
)


def _slot_dispatch(operator: str, entry: str) -> CudaKernel:
    rows = 2 * _MIX_WARPS
    return CudaKernel(
        operator=operator,
        entry=entry,
        source="slots.cu",
        scalars=("in0_1", "in0_2", "in1_2"),
        outputs=(("in0_0", "in0_1", "in1_2"),),
        grid=(f"ceil_div(in0_1, {rows})", f"ceil_div(in1_2, {_MIX_CHUNK})", "in0_0"),
        block=_MIX_BLOCK,
        static_bytes=_MIX_SHARED,
    )


def _map_slot_dispatch() -> CudaKernel:
    """The pixels of a map are tokens: the kernel is that of SlotDispatchAdd."""
    tokens = _slot_dispatch("MapSlotDispatchAdd", "slot_dispatch_add")
    shape = ("in2_0", "in2_1", "in2_2", "in2_3")
    return replace(tokens, outputs=(shape,))


def _sparse_summary(operator: str, entry: str) -> CudaKernel:
    columns = 4  # of the low-rank map, per block
    return CudaKernel(
        operator=operator,
        entry=entry,
        source="sparse.cu",
        scalars=("in0_1", "heads", "dim", "in1_0", "in3_1"),
        outputs=(("in0_0", "heads", "in1_0", "in3_1"),),
        grid=(f"ceil_div(in3_1, {columns})", "heads", "in0_0"),
        block=256,
        shared_bytes=f"4 * {columns} * dim",
        static_bytes=5248,
    )


def _sparse_rows(operator: str, entry: str, *more: str) -> CudaKernel:
    rows = 4  # of a block, one per warp
    return CudaKernel(
        operator=operator,
        entry=entry,
        source="sparse.cu",
        scalars=(
            "in0_1",
            "heads",
            "dim",
            "in1_2",
            "in1_3",
            "coef_topk",
            "float_bits(coef_threshold)",
            "keep",
            "float_bits(score_threshold)",
            "float_bits(scale)",
            "float_bits(coef_scale)",
            *more,
        ),
        outputs=(("in0_0", "in0_1", "heads * dim"),),
        grid=(f"ceil_div(in0_1, {rows})", "heads", "in0_0"),
        block=32 * rows,
        shared_bytes=f"{4 * rows} * (dim + in1_2 + in1_3 + 2 * imax(in0_1, in1_3))",
    )


def _window_attention(operator: str, entry: str, *, pooled: bool) -> CudaKernel:
    warps = 16 if pooled else 4
    window = "kernel_shape_0 * kernel_shape_1"
    # With pooled keys few blocks, as each of them averages the whole map; 32 KB of weights.
    spread = f"imax({warps}, imin(ceil_div(tokens, 32), floor_div(8192, places)))"
    return CudaKernel(
        operator=operator,
        entry=entry,
        source="window.cu",
        sizes={
            "tokens": "in0_1 * in0_2",
            "channels": "floor_div(in0_3, 3)",
            "cells": "grid_0 * grid_1" if pooled else "0",
            "places": f"{window} + cells",
            "pixels": spread if pooled else str(warps),
        },
        scalars=(
            "in0_1",
            "in0_2",
            "channels",
            "kernel_shape_0",
            "kernel_shape_1",
            "dilations_0",
            "dilations_1",
            "shift",
            "float_bits(scale)",
            "pixels",
            *(("grid_0", "grid_1") if pooled else ()),
        ),
        outputs=(("in0_0", "in0_1", "in0_2", "channels"),),
        grid=("ceil_div(tokens, pixels)", "1", "in0_0"),
        block=32 * warps,
        shared_bytes=f"4 * (36 * cells + {32 * warps} + pixels * places)",
    )


SELECT_TOKENS = CudaKernel(
    operator="SelectTokens",
    entry="select_tokens",
    source="select_tokens.cu",
    scalars=(
        "in0_1",
        "in0_2",
        "in1_1",
        "in1_2",
        "in2_2",
        "heads",
        "dim_qk",
        "q_at",
        "k_at",
        "keep",
        "fuse",
        "float_bits(scale)",
    ),
    outputs=(
        ("in0_0", "1 + keep + fuse", "in0_2"),
        ("in0_0", "keep"),
        ("in0_0", "in0_1 - 1"),
    ),
    grid=("ceil_div(1 + keep, 32) + fuse * ceil_div(in0_2, 64)", "1", "in0_0"),
    block=256,
    shared_bytes="48 * ceil_div(in0_1, 4)",
    static_bytes=2048,
    integer_outputs=(1,),
)

KERNELS: tuple[CudaKernel, ...] = (
    MAP_ATTENTION,
    SLOT_CLUSTER,
    POOLED_SLOT_CLUSTER,
    _slot_dispatch("SlotDispatch", "slot_dispatch"),
    _slot_dispatch("SlotDispatchAdd", "slot_dispatch_add"),
    _map_slot_dispatch(),
    _sparse_summary("SparseSummary", "sparse_summary"),
    _sparse_summary("SparseSummaryActive", "sparse_summary_active"),
    _sparse_rows("SparseRows", "sparse_rows"),
    _sparse_rows("SparseRowsActive", "sparse_rows_active", "prune_rows"),
    _window_attention("WindowAttention", "window_attention", pooled=False),
    _window_attention("WindowAttentionBare", "window_attention_bare", pooled=False),
    _window_attention("WindowAttentionPooled", "window_attention_pooled", pooled=True),
    _window_attention("WindowAttentionPooledBare", "window_attention_pooled_bare", pooled=True),
    SELECT_TOKENS,
)


def kernel_of(operator: str) -> CudaKernel | None:
    """The kernel of this operator, None if it has none."""
    return next((kernel for kernel in KERNELS if kernel.operator == operator), None)
