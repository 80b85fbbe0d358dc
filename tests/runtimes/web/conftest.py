"""Fixtures of the engine's tests: both single-threaded builds, fresh numbers in every run."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cpu")]  # engine_*.py here, kernel_*.py there

SEED = int(os.environ.get("ATTNC_TEST_SEED", secrets.randbelow(2**31)))


def pytest_report_header() -> str:
    """Every run uses other numbers; this line says how to repeat it."""
    return f"engine tests: ATTNC_TEST_SEED={SEED}"


@pytest.fixture(scope="session")
def seed() -> int:
    """Seed of this run's random inputs."""
    return SEED


@pytest.fixture(params=["simd", "relaxed"])
def simd(request: pytest.FixtureRequest) -> str:
    """Which build of the engine."""
    return request.param
