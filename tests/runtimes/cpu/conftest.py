"""Fixtures of the kernel tests: libraries, instruction sets, and a fresh seed that is printed."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # kernel_*.py beside this file

SEED = int(os.environ.get("ATTNC_TEST_SEED", secrets.randbelow(2**31)))


def pytest_report_header() -> str:
    """Every run uses other numbers; this line says how to repeat it."""
    return f"kernel tests: ATTNC_TEST_SEED={SEED}"


@pytest.fixture(scope="session")
def seed() -> int:
    """Seed of this run's random inputs."""
    return SEED


@pytest.fixture(scope="session")
def library() -> Path:
    """The shipped library for this machine, built if it is not up to date."""
    from attnc.runtimes.cpu.build import build
    from attnc.runtimes.cpu.library import host_target

    return build(host_target())


@pytest.fixture(scope="session")
def bench_library() -> Path:
    """The same kernels behind their plain C interface."""
    from attnc.runtimes.cpu.build import build
    from attnc.runtimes.cpu.library import host_target

    return build(host_target(), bench=True)
