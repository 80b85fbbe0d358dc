"""A fault drill for Core ML: weights of one block are wrong, and bisect names that block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_models import export_own, reseal

from attnc.runtimes.coreml.blobs import SENTINEL

pytestmark = pytest.mark.usefixtures("importable_data")


def spoil(weights: Path, size: int) -> None:
    """Turn the sign of the one blob of so many bytes, half-precision numbers."""
    data = bytearray(weights.read_bytes())
    found = []
    for at in range(0, len(data) - 64, 64):
        sentinel, _ = np.frombuffer(data, np.uint32, 2, at)
        length, offset = np.frombuffer(data, np.uint64, 2, at + 8)
        if sentinel == SENTINEL and length == size:
            found.append(int(offset))
    (offset,) = found
    numbers = np.frombuffer(data, np.uint16, size // 2, offset) ^ np.uint16(0x8000)
    data[offset : offset + size] = numbers.tobytes()
    weights.write_bytes(data)


@pytest.mark.parametrize(("module", "size"), [("stem", 1080), ("the head", 400)])
def test_the_block_whose_weights_are_wrong_is_named(
    cli: Any, tmp_path: Path, module: str, size: int
) -> None:
    bundle = export_own("tiny_net:build_named", tmp_path / "b", target="coreml")
    spoil(next(bundle.rglob("weight.bin")), size)
    assert cli("verify", bundle).code == 2, "not the file that was exported"
    reseal(bundle)
    assert cli("verify", bundle).code == 1, "another result"
    done = cli("bisect", bundle, "--json", "-")
    found = json.loads(done.out)
    assert done.code == 1
    assert found["stage"] == "kernels"
    assert found["place"]["module"] == module
