"""The helpers of these tests lie beside them, and conversions need not rescan every old object."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module", autouse=True)
def frozen_objects() -> Iterator[None]:
    """Every conversion collects garbage; leaving out what was loaded makes it ten times faster."""
    gc.freeze()
    yield
    gc.unfreeze()
