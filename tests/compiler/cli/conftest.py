"""Bundles that several files of the commands' tests look at; exported once per process."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorrt_bundles import has_nvcc

import attnc


@pytest.fixture(scope="session")
def tensorrt_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network with plugins, for one GPU; not to be changed."""
    if not has_nvcc():
        pytest.skip("there is no CUDA compiler")
    output = tmp_path_factory.mktemp("tensorrt") / "b"
    attnc.export(
        "glnet_variations:network",
        output=output,
        target="tensorrt",
        profile="rtx4090",
        image_size=56,
        options={"name": "plain"},
    )
    return output
