"""`attnc crossover`: the grid, the ratios, where sparsity begins to pay; no speed is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnc.compiler.cli.twins import grid_of
from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.runtimes.crossover import Cell, crossing, crossovers
from attnc.runtimes.crossover_plot import plot


def cell(size: int, batch: int, keep: float, ratio: float) -> Cell:
    return Cell(size, (size // 16) ** 2, batch, keep, ratio, 1.0, ratio, (ratio, ratio), 0.5)


def test_a_real_run(cli: Any, tmp_path: Path) -> None:
    options = ["--quick", "--image-size", "32", "--keep", "0.5", "--json", "-"]
    done = cli("crossover", "evit_tiny_k070", *options, "-o", tmp_path / "plot.png")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    (one,) = report["cells"]
    assert (one["image_size"], one["tokens"], one["batch"], one["keep"]) == (32, 4, 1, 0.5)
    assert 0.4 < one["flop_ratio"] < 0.9
    assert one["latency_ratio"] == pytest.approx(one["sparse_ms"] / one["dense_ms"], rel=0.01)
    assert one["realised"] == pytest.approx(one["latency_ratio"] / one["flop_ratio"], rel=0.01)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "compiling evit_tiny_k070 (32x32, batch 1, keep_rate 1.0)" in done.err


@pytest.mark.parametrize("model", ["shvit_s1", "glnet_4g", "tic_tiny", "sparsifiner_lvvit_s"])
def test_families_without_a_dense_twin(cli: Any, model: str) -> None:
    done = cli("crossover", model)
    assert done.code == 3
    assert f"error: {model} has no dense twin" in done.err
    assert "attnc list models" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evit_smal_k070"], "unknown model 'evit_smal_k070'"),
        (["evit_small_k070", "--keep", "0"], "--keep '0' is not in (0, 1]"),
        (["evit_small_k070", "--keep", "0.5,1.5"], "--keep '1.5' is not in (0, 1]"),
        (["evit_small_k070", "--keep", "most"], "--keep 'most'"),
        (
            ["evit_small_k070", "--image-size", "100"],
            "evit_small_k070 cannot take images of 100x100 pixels",
        ),
        (["evit_small_k070", "--batch", "0"], "--batch '0'"),
    ],
)
def test_bad_input(cli: Any, arguments: list[str], said: str) -> None:
    done = cli("crossover", *arguments)
    assert done.code == 2
    assert f"error: {said}" in done.err
    assert "  try: " in done.err


def test_grids() -> None:
    every = grid_of("sparsifiner_s_384", keeps=None, sizes=None, batches=None, quick=False)
    assert every.sizes == (160, 224, 320, 384)
    assert every.batches == (1, 8)
    assert every.dense_name == "deit_small"
    assert every.keeps == (0.75, 0.5, 0.25, 0.1)
    quick = grid_of("evit_small_k070", keeps=(0.9,), sizes=None, batches=None, quick=True)
    assert (quick.keeps, quick.sizes, quick.batches) == ((0.9,), (224,), (1,))
    assert quick.dense_name == "evit_small_k070 with keep rate 1"
    with pytest.raises(UnsupportedError):
        grid_of("shvit_s1", keeps=None, sizes=None, batches=None, quick=True)
    with pytest.raises(UsageError):
        grid_of("evit_small_k070", keeps=None, sizes=(8,), batches=None, quick=True)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.9, 1.1), (0.7, 0.9), (0.5, 0.7)], 0.8),
        ([(0.9, 0.95), (0.7, 0.9)], 0.9),
        ([(0.9, 1.1), (0.7, 1.0)], None),
        ([(100.0, 1.3), (196.0, 1.1), (400.0, 0.7)], 247.0),
        ([], None),
    ],
)
def test_crossing(points: list[tuple[float, float]], expected: float | None) -> None:
    assert crossing(points) == expected


def test_crossovers_over_both_axes() -> None:
    cells = [
        *(cell(160, 1, 0.9, 1.2), cell(160, 1, 0.5, 1.0)),
        *(cell(320, 1, 0.9, 1.1), cell(320, 1, 0.5, 0.9)),
    ]
    assert crossovers(cells) == [
        {"image_size": 160, "tokens": 100, "batch": 1, "pays_from_keep": None},
        {"image_size": 320, "tokens": 400, "batch": 1, "pays_from_keep": 0.7},
        {"keep": 0.9, "batch": 1, "pays_from_tokens": None},
        {"keep": 0.5, "batch": 1, "pays_from_tokens": 100.0},
    ]


def test_a_plot_of_several_batches(tmp_path: Path) -> None:
    cells = [
        cell(size, batch, keep, 0.9)
        for size in (160, 224)
        for batch in (1, 8)
        for keep in (0.5, 0.9)
    ]
    plot(cells, "title", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
