"""What Core ML cannot do is refused by name, with the place in the model and a way out."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from programs import Case, Group, case, fixed

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.provenance import MODULE_KEY, SOURCE_KEY
from attnc.targets.coreml.lower import Options, lower, prepare

RNG = np.random.default_rng(19)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


MAP = real(2, 3, 6, 8)
ONES = fixed(real(3))
LINEAR = {"mode": "linear"}

REFUSED: dict[str, tuple[Case, str]] = {
    "dilated pool": (case("MaxPool", MAP, kernel_shape=[2, 2], dilations=[2, 1]), "dilations"),
    "places of a pool": (case("MaxPool", MAP, kernel_shape=[2, 2], outputs=2), "output 'c0_y1'"),
    "uneven pool": (
        case(
            "AveragePool",
            MAP,
            kernel_shape=[3, 3],
            strides=[3, 3],
            pads=[1, 0, 0, 1],
            ceil_mode=1,
            count_include_pad=1,
        ),
        "both sides",
    ),
    "pool norm": (case("LpPool", MAP, kernel_shape=[2, 2], p=3), "norm 3"),
    "cubic": (case("Resize", MAP, None, None, fixed(2, 3, 9, 9), mode="cubic"), "cubic"),
    "antialias": (
        case("Resize", MAP, None, None, fixed(2, 3, 3, 4), antialias=1, **LINEAR),
        "antialias",
    ),
    "rounded scale": (case("Resize", MAP, None, fixed(1.0, 1.0, 1.3, 1.0), **LINEAR), "rounding"),
    "channels last": (case("Resize", MAP, None, None, fixed(2, 6, 6, 8), **LINEAR), "last two"),
    "aspect ratio": (
        case(
            "Resize",
            MAP,
            None,
            None,
            fixed(9, 9),
            axes=[2, 3],
            keep_aspect_ratio_policy="not_larger",
        ),
        "aspect ratio",
    ),
    "cubic samples": (case("GridSample", MAP, real(2, 4, 4, 2), mode="cubic"), "bilinear"),
    "even neighbours": (case("LRN", real(2, 7, 4, 4), size=4), "even size"),
    "training": (
        case("BatchNormalization", MAP, ONES, ONES, ONES, ONES, training_mode=1, outputs=3),
        "as in training",
    ),
    "computed statistics": (
        case("BatchNormalization", MAP, ONES, ONES, real(3), ONES),
        "'mean' is computed",
    ),
    "mean of layer norm": (
        case("LayerNormalization", real(2, 3, 8), fixed(real(8)), outputs=2),
        "output 'c0_y1'",
    ),
    "mean of integers": (
        case("ReduceMean", np.arange(6).reshape(2, 3), fixed([1])),
        "rounds integers",
    ),
    "last of equals": (case("ArgMax", real(2, 3), select_last_index=1), "last of equal"),
    "computed axes": (case("ReduceSum", real(2, 3), np.array([1])), "'axes' is computed"),
    "computed bounds": (
        case("Slice", real(9), np.array([1]), np.array([4])),
        "'starts' is computed",
    ),
    "reflected batch": (
        case("Pad", real(3, 4, 5), fixed(1, 0, 0, 0, 0, 0), mode="reflect"),
        "last two axes only",
    ),
    "wide edges": (
        case("Pad", real(3, 4), fixed(0, 5, 0, 0), mode="edge"),
        "wider than the input",
    ),
    "wrapped": (case("Pad", real(3, 4), fixed(0, 1, 0, 0), mode="wrap"), "no wrap padding"),
    "nothing left": (case("Slice", real(9), fixed([4]), fixed([4])), "no elements"),
    "part of a scatter": (
        case("ScatterElements", real(3, 5), fixed([[0, 1]]), real(1, 2), axis=1),
        "along axis 0",
    ),
    "data-dependent": (case("NonZero", real(2, 3)), "depends on the numbers"),
    "compressed": (case("Compress", real(2, 3), fixed([True, False]), axis=0), "depends on"),
    "six axes": (case("Expand", real(2), fixed(1, 1, 1, 1, 1, 2)), "6 axes"),
    "small integers": (case("Cast", real(3), to=3), "INT8"),
    "sum in an equation": (case("Einsum", real(2, 3), real(3), equation="ij,j->j"), "no product"),
    "unknown operator": (case("Det", real(2, 2)), "Det has no form"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_names_place_and_remedy(name: str) -> None:
    entry, reason = REFUSED[name]
    model = ir.from_proto(Group([entry]).model())
    for node in model.graph:
        node.metadata_props.update(
            {MODULE_KEY: "blocks.1.pool", SOURCE_KEY: "net.py:7 > net.py:12"}
        )
    prepare(model, 16)
    with pytest.raises(UnsupportedError) as caught:
        lower(model, Options(16))
    assert reason in caught.value.message
    place = f"{entry.operator} c0_{entry.operator} (blocks.1.pool, net.py:12)"
    assert caught.value.where == place
    assert len(caught.value.remedy) > 10


@pytest.mark.parametrize("ios", [15, 16])
def test_batch_axes_of_gather_need_ios_16(ios: int) -> None:
    group = Group([case("GatherND", real(2, 3, 5), fixed([[0], [1]]), batch_dims=1)])
    if ios >= 16:
        assert group.operations(0, ios) == ["gather_nd"]
    else:
        with pytest.raises(UnsupportedError, match="iOS 15"):
            group.lowered(ios)
