"""Ranges read off tiny programs, against what their formulas say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_programs import converted, mb
from saved_packages import save_tensors

from attnc.runtimes.coreml.ranges import magnitude, record_ranges

RNG = np.random.default_rng(31)
X = RNG.uniform(-3, 3, (2, 3, 4, 5)).astype(np.float32)
ROWS = RNG.uniform(-3, 3, (2, 3, 7)).astype(np.float32)


def readings(folder: Path, build: Callable[..., Any], *inputs: Any) -> dict[str, dict[str, float]]:
    package = converted(folder, build, (inputs[0],), "iOS16")
    return record_ranges(package.path, inputs)


def test_largest_and_read(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.relu(x=mb.mul(x=x, y=np.float32(-500), name="scaled"), name="bent")

    found = readings(tmp_path, build, X)
    assert found.keys() == {"scaled", "bent"}
    size = float(np.abs(X).max())
    assert found["scaled"] == pytest.approx({"largest": size * 500, "read": size})
    assert found["bent"]["read"] == pytest.approx(size * 500)
    assert found["bent"]["largest"] == pytest.approx(float(-X.min() * 500))


def test_several_results_and_inputs_give_the_largest(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        parts = mb.split(x=x, num_splits=2, axis=0, name="parts")
        return mb.concat(values=parts, axis=1, name="joined")

    x = np.stack([X[0], X[0] * 9])
    found = readings(tmp_path, build, x)
    size = pytest.approx(float(np.abs(x).max()))
    assert found["parts"]["largest"] == size
    assert found["joined"]["read"] == size


def test_extremes_over_all_inputs(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.layer_norm(x=x, axes=[-1], epsilon=1e-5, name="norm")

    found = readings(tmp_path, build, ROWS, ROWS * 10, ROWS / 10)["norm"]
    variances = ROWS.astype(np.float64).var(axis=-1)
    assert found["read"] == pytest.approx(float(np.abs(ROWS).max() * 10))
    assert found["variance"] == pytest.approx(float(variances.min()) / 100, rel=1e-5)
    assert found["epsilon"] == pytest.approx(1e-5)


@pytest.mark.parametrize(("array", "axes"), [(ROWS, [-1]), (ROWS, [1, 2]), (X, [1])])
def test_layer_norm(tmp_path: Path, array: Any, axes: list[int]) -> None:
    def build(x: Any) -> Any:
        return mb.layer_norm(x=x, axes=axes, epsilon=0.25, name="norm")

    found = readings(tmp_path, build, array)["norm"]
    wide = array.astype(np.float64)
    deviations = wide - wide.mean(axis=tuple(axes), keepdims=True)
    assert found["squares"] == pytest.approx(float((deviations**2).max()))
    assert found["variance"] == pytest.approx(float(wide.var(axis=tuple(axes)).min()))
    assert found["epsilon"] == pytest.approx(0.25)


@pytest.mark.parametrize("kind", ["reduce_l2_norm", "reduce_sum_square"])
def test_sums_of_squares(tmp_path: Path, kind: str) -> None:
    def build(x: Any) -> Any:
        return getattr(mb, kind)(x=x, axes=[-1], keep_dims=True, name="length")

    found = readings(tmp_path, build, ROWS)["length"]
    sums = (ROWS.astype(np.float64) ** 2).sum(axis=-1)
    assert found["squares"] == pytest.approx(float(sums.max()))
    assert "epsilon" not in found


@pytest.mark.parametrize("kind", ["rsqrt", "log", "inverse"])
def test_an_epsilon_beside_the_least_input(tmp_path: Path, kind: str) -> None:
    def build(x: Any) -> Any:
        return getattr(mb, kind)(x=x, epsilon=1e-6, name="bent")

    x = np.abs(ROWS) + np.float32(0.01)
    found = readings(tmp_path, build, x)["bent"]
    assert found["variance"] == pytest.approx(float(x.min()))
    assert found["epsilon"] == pytest.approx(1e-6)


@pytest.mark.parametrize("array", [X, ROWS])
def test_instance_norm(tmp_path: Path, array: Any) -> None:
    def build(x: Any) -> Any:
        return mb.instance_norm(x=x, epsilon=1e-3, name="norm")

    found = readings(tmp_path, build, array)["norm"]
    planes = array.astype(np.float64).reshape(2, 3, -1)
    assert found["variance"] == pytest.approx(float(planes.var(axis=-1).min()))
    assert found["epsilon"] == pytest.approx(1e-3)


def test_l2_norm(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.l2_norm(x=x, epsilon=1e-4, name="unit")

    found = readings(tmp_path, build, X)["unit"]
    sums = (X.astype(np.float64) ** 2).reshape(2, -1).sum(axis=-1)
    assert found["squares"] == pytest.approx(float(sums.max()))


def test_norms_of_computed_values(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        wide = mb.mul(x=x, y=np.float32(300), name="scaled")
        return mb.reduce_l2_norm(x=wide, axes=[-1], name="length")

    found = readings(tmp_path, build, ROWS)["length"]
    sums = ((ROWS.astype(np.float64) * 300) ** 2).sum(axis=-1)
    assert found["squares"] == pytest.approx(float(sums.max()), rel=1e-6)
    assert found["largest"] == pytest.approx(float(np.sqrt(sums.max())), rel=1e-6)


def test_constants_and_choices_are_no_values(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        shifted = mb.add(x=x, y=np.float32(900), name="shifted")
        return mb.select(
            cond=mb.greater(x=shifted, y=np.float32(0), name="above"), a=x, b=x, name="chosen"
        )

    found = readings(tmp_path, build, ROWS)
    assert found["shifted"]["read"] == pytest.approx(float(np.abs(ROWS).max()))
    assert found["above"]["largest"] == 0.0
    assert found["chosen"]["read"] == pytest.approx(float(np.abs(ROWS).max()))


def test_the_largest_is_finite() -> None:
    assert magnitude(np.array([1.0, -7.0, np.inf, -np.inf, np.nan], np.float32)) == 7.0
    assert magnitude(np.array([np.nan], np.float32)) == 0.0


def test_names_are_those_of_the_package(tmp_path: Path) -> None:
    found = record_ranges(save_tensors(tmp_path), [X[:1, :, :, :1].repeat(2, 2).repeat(6, 3)])
    assert {"stem", "bent", "chances"} <= found.keys()
    assert found["chances"]["largest"] <= 1.0
