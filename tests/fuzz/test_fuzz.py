"""Damaged input of every parser: a result or an error of ours, never anything else, and in time."""

from __future__ import annotations

import faulthandler
import os
import secrets
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fuzz_seeds import Parser, damaged, damaged_text, parsers

from attnc.compiler.errors import AttncError
from attnc.model_defs.errors import ModelError

SEED = int(os.environ.get("ATTNC_TEST_SEED", secrets.randbelow(2**31)))
FEW, MANY = 60, 1200  # of each of ten parsers: 12,000 in the slow run
SECONDS = 20
NAMES = ("manifest", "bundle", "onnx", "safetensors", "torch", "picture", "profile", "budgets")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parser]:
    return {one.name: one for one in parsers(tmp_path_factory.mktemp("seeds"))}


@pytest.fixture
def in_time() -> Iterator[None]:
    """A hang becomes a failure."""

    def stop(*_: object) -> None:
        faulthandler.dump_traceback()
        raise TimeoutError(f"a parser took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def fuzz(parser: Parser, folder: Path, count: int) -> int:
    """How many of the damaged inputs were refused."""
    rng = np.random.default_rng([SEED, *parser.name.encode()])
    refused = 0
    outside = set(folder.parent.iterdir())
    for index in range(count):
        seed = parser.seeds[index % len(parser.seeds)]
        json_like = parser.file.endswith(".json") and rng.random() < 0.5
        data = damaged_text(seed, rng) if json_like else damaged(seed, rng)
        path = folder / parser.file
        path.write_bytes(data)
        signal.alarm(SECONDS)
        try:
            parser.read(path)
        except (AttncError, ModelError):
            refused += 1
        except Exception as error:
            kept = folder.parent / f"crash-{parser.file}"
            kept.write_bytes(data)
            message = f"{parser.name} {index}, ATTNC_TEST_SEED={SEED}, {kept}: {error!r}"
            raise AssertionError(message) from error
        signal.alarm(0)
    assert set(folder.parent.iterdir()) == outside
    return refused


@pytest.mark.parametrize("name", [*NAMES, "signature", "key"])
def test_a_few_damaged_inputs(
    name: str, known: dict[str, Parser], tmp_path: Path, in_time: None
) -> None:
    run(known[name], tmp_path, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, "signature", "key"])
def test_many_damaged_inputs(
    name: str, known: dict[str, Parser], tmp_path: Path, in_time: None
) -> None:
    run(known[name], tmp_path, MANY)


def run(parser: Parser, folder: Path, count: int) -> None:
    place = folder / "in"
    place.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fuzz(parser, place, count) > count // 10


def test_the_seeds_themselves_are_right(known: dict[str, Parser], tmp_path: Path) -> None:
    """But for the bundle's model, which has operators that only our own files may have."""
    for parser in known.values():
        for seed in parser.seeds[-1:]:
            path = tmp_path / parser.file
            path.write_bytes(seed)
            parser.read(path)
