"""Weights compressed by coremltools' own tools: stored small, computed with as decompressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_formulas import convolution
from mil_programs import Array, converted, ct, mb, numbers, operations, run

from attnc.runtimes.coreml.package import Package, open_package

optimize = pytest.importorskip("coremltools.optimize.coreml")
draw = numbers(171)

X = draw(1, 8, 6, 5)
WEIGHT = draw(16, 8, 3, 3)


def answer(weight: Array) -> Array:
    """What the network gives with a weight."""
    return convolution(
        X.astype(np.float64), weight, stride=[1, 1], pad=[(0, 0)] * 2, dilation=[1, 1]
    )


def compressed(folder: Path, target: str, compress: Any) -> Package:
    """The convolution converted, compressed by a function on models, and saved."""
    package = converted(
        folder, lambda x: mb.conv(x=x, weight=WEIGHT, pad_type="valid"), (X,), target
    )
    model = compress(ct.models.MLModel(str(package.path), skip_model_load=True))
    path = folder / "compressed.mlpackage"
    model.save(str(path))
    return open_package(path)


def compare(package: Package, weight: Array, operation: str) -> None:
    """Operation and answer are those of the given weight."""
    assert operation in {each.type for each in operations(package)}
    (result,) = run(package, (X,))
    wanted = answer(weight)
    assert np.max(np.abs(result - wanted)) < 2e-6 * np.max(np.abs(wanted))


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        ("iOS16", "constexpr_affine_dequantize"),
        ("iOS18", "constexpr_blockwise_shift_scale"),
    ],
)
def test_linear_quantisation_to_bytes(target: str, operation: str, tmp_path: Path) -> None:
    config = optimize.OptimizationConfig(
        optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    )
    package = compressed(tmp_path, target, lambda m: optimize.linear_quantize_weights(m, config))
    scale = np.max(np.abs(WEIGHT), axis=(1, 2, 3), keepdims=True) / 127
    compare(package, np.rint(WEIGHT / scale) * scale, operation)


@pytest.mark.parametrize(
    ("target", "bits"), [("iOS16", 4), ("iOS16", 6), ("iOS18", 4), ("iOS18", 3)]
)
def test_palettes_of_evenly_spaced_values(target: str, bits: int, tmp_path: Path) -> None:
    config = optimize.OptimizationConfig(
        optimize.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=0)
    )
    package = compressed(tmp_path, target, lambda m: optimize.palettize_weights(m, config))
    palette = np.linspace(WEIGHT.min(), WEIGHT.max(), 2**bits)
    nearest = palette[np.argmin(np.abs(WEIGHT[..., None] - palette), axis=-1)]
    compare(package, nearest, "constexpr_lut_to_dense")


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_pruned_weights(target: str, tmp_path: Path) -> None:
    config = optimize.OptimizationConfig(
        optimize.OpThresholdPrunerConfig(threshold=1.5, weight_threshold=0)
    )
    package = compressed(tmp_path, target, lambda m: optimize.prune_weights(m, config))
    pruned = np.where(np.abs(WEIGHT) > 1.5, WEIGHT, 0)
    compare(package, pruned, "constexpr_sparse_to_dense")


def test_blocks_of_four_bits(tmp_path: Path) -> None:
    config = optimize.OptimizationConfig(
        optimize.OpLinearQuantizerConfig(
            mode="linear_symmetric",
            dtype="int4",
            granularity="per_block",
            block_size=4,
            weight_threshold=0,
        )
    )
    package = compressed(tmp_path, "iOS18", lambda m: optimize.linear_quantize_weights(m, config))
    blocks = WEIGHT.reshape(16, 2, 4, 3, 3)
    scale = np.max(np.abs(blocks), axis=(2, 3, 4), keepdims=True) / 7
    compare(
        package,
        (np.rint(blocks / scale) * scale).reshape(WEIGHT.shape),
        "constexpr_blockwise_shift_scale",
    )
