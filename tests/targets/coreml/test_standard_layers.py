"""Products, normalisations and softmax against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Fixed, Group, case, fixed

RNG = np.random.default_rng(13)


def real(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def channels(count: int) -> tuple[Fixed, ...]:
    """Scale, bias, mean and variance."""
    return tuple(fixed(real(count, low=low)) for low in (-1.0, -1.0, -1.0, 0.2))


GROUP = Group(
    [
        case("MatMul", real(2, 3, 4), fixed(real(4, 5)), operations=("linear",)),
        case("MatMul", real(3, 4), fixed(real(4, 5)), operations=("linear",)),
        case("MatMul", real(4), fixed(real(4, 5)), operations=("linear",)),
        case("MatMul", real(2, 3, 4, 5), fixed(real(5, 6)), operations=("matmul",)),
        case("MatMul", real(2, 2, 3, 4), real(2, 1, 4, 5), operations=("matmul",)),
        case("MatMul", fixed(real(3, 4)), real(2, 4, 5), label="weight-first"),
        case("MatMul", real(4), real(2, 4, 5), label="row"),
        case("MatMul", real(2, 3, 4), real(4), label="column"),
        case("MatMul", real(4), real(4), label="dot"),
        case("MatMul", real(2, 3, 4), fixed(real(4)), label="fixed-column"),
        case("Gemm", real(3, 4), fixed(real(4, 5)), fixed(real(5)), operations=("linear",)),
        case(
            "Gemm", real(3, 4), fixed(real(5, 4)), fixed(real(1, 5)), transB=1, alpha=0.5, beta=2.0
        ),
        case(
            "Gemm",
            real(4, 3),
            fixed(real(4, 5)),
            fixed(real(1)),
            transA=1,
            operations=("linear", "transpose"),
        ),
        case(
            "Gemm", real(3, 4), fixed(real(4, 5)), fixed(real(3, 1)), operations=("add", "linear")
        ),
        case("Gemm", real(3, 4), fixed(real(4, 5)), label="no-bias", operations=("linear",)),
        case(
            "Gemm",
            real(4, 3),
            real(5, 4),
            real(5),
            transA=1,
            transB=1,
            alpha=0.5,
            beta=0.25,
            label="live",
        ),
        case("Gemm", fixed(real(4, 3)), real(5, 4), transA=1, transB=1, label="weight-first"),
        case(
            "BatchNormalization",
            real(2, 3, 4, 5),
            *channels(3),
            epsilon=1e-3,
            operations=("batch_norm",),
        ),
        case("BatchNormalization", real(2, 3, 4), *channels(3)),
        case("BatchNormalization", real(2, 3), *channels(3), operations=("add", "mul")),
        case(
            "InstanceNormalization",
            real(2, 3, 4, 5),
            *channels(3)[:2],
            operations=("instance_norm",),
        ),
        case("InstanceNormalization", real(2, 3, 4, 2, 3), *channels(3)[:2]),
        case("InstanceNormalization", real(2, 3, 4), real(3), real(3), label="live"),
        case(
            "LayerNormalization",
            real(2, 3, 8),
            fixed(real(8)),
            fixed(real(8)),
            operations=("layer_norm",),
        ),
        case(
            "LayerNormalization",
            real(2, 3, 8),
            fixed(real(8)),
            epsilon=1e-3,
            operations=("layer_norm",),
        ),
        case("LayerNormalization", real(2, 3, 4, 5), fixed(real(4, 5)), fixed(real(4, 5)), axis=2),
        case(
            "LayerNormalization",
            real(2, 3, 4, 5),
            fixed(real(5)),
            fixed(real(4, 1)),
            axis=2,
            label="small",
        ),
        case(
            "LayerNormalization",
            real(2, 3, 8),
            fixed(real(3, 8)),
            fixed(real(8)),
            label="large-scale",
        ),
        case("LayerNormalization", real(2, 3, 8), real(8), real(8), label="live"),
        case("LpNormalization", real(2, 3, 4), axis=1),
        case("LpNormalization", real(2, 3, 4), p=1),
        case(
            "LRN",
            real(2, 7, 4, 5),
            size=5,
            alpha=0.3,
            beta=0.6,
            bias=1.5,
            operations=("local_response_norm",),
        ),
        case("LRN", real(2, 7, 2, 2), size=3, alpha=0.5),
        case(
            "Einsum", real(2, 3, 4), real(2, 5, 4), equation="bik,bjk->bij", operations=("matmul",)
        ),
        case(
            "Einsum", real(2, 3, 4), real(2, 4, 5), equation="bik,bkj->bij", operations=("matmul",)
        ),
        case("Einsum", real(2, 3, 4, 2, 5), real(4, 6, 5), equation="byhwc,hkc->byhwk"),
        case("Einsum", real(2, 3, 4), fixed(real(4, 5)), equation="nct,tv->ncv", label="weight"),
        case("Einsum", real(2, 3, 4), real(2, 4), equation="bnd,bd->nb", label="turned"),
        case("Einsum", real(3), real(4), equation="i,j->ij", label="outer"),
        case("Softmax", real(2, 3, 4)),
        case("Softmax", real(2, 3, 4, 5), axis=1, operations=("softmax",)),
        case("LogSoftmax", 30 * real(2, 3, 4), axis=1),
        case("Hardmax", real(2, 3, 4), axis=1),
        case("Hardmax", real(2, 3, 4)),
    ]
)

#: Group norms: numbers per channel, and the RMS norm, are newer.
NEWER = Group(
    [
        case("GroupNormalization", real(2, 6, 4, 5), *channels(6)[:2], num_groups=3),
        case("GroupNormalization", real(2, 6, 4), *channels(6)[:2], num_groups=1),
        case("GroupNormalization", real(2, 6, 4, 5), *channels(6)[:2], num_groups=6),
        case("GroupNormalization", real(2, 6, 4), real(6), real(6), num_groups=2, label="live"),
        case("RMSNormalization", real(2, 3, 8), fixed(real(8)), epsilon=1e-3),
        case("RMSNormalization", real(2, 3, 4, 5), real(4, 5), axis=2),
    ],
    opset=23,
)
OLDER = Group(
    [
        case("GroupNormalization", real(2, 6, 4, 5), *channels(3)[:2], num_groups=3),
        case("GroupNormalization", real(2, 6, 4, 5), *channels(6)[:2], num_groups=6),
    ],
    opset=18,
)


@pytest.mark.parametrize("ios", [16, 17, 18])
@pytest.mark.parametrize("index", NEWER.parameters())
def test_newer_operator(index: int, ios: int) -> None:
    NEWER.check(index, ios)


@pytest.mark.parametrize("index", OLDER.parameters())
def test_older_operator(index: int) -> None:
    OLDER.check(index, 16)


@pytest.mark.parametrize("ios", [16, 17, 18])
@pytest.mark.parametrize("index", GROUP.parameters())
def test_operator(index: int, ios: int) -> None:
    GROUP.check(index, ios)


@pytest.mark.parametrize("index", GROUP.parameters())
def test_half_precision(index: int) -> None:
    GROUP.check_half(index)


@pytest.mark.parametrize("index", GROUP.promises())
def test_operations(index: int) -> None:
    GROUP.check_operations(index)
