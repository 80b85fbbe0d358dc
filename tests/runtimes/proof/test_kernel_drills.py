"""Mutated kernels in a bundle: verify catches each, bisect names the operator and its module."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from faulty_kernels import FAULTS, VARIABLE, Fault, build_faulty

import attnc
from attnc.compiler.manifest import content_digest

pytestmark = pytest.mark.slow
#: A model with the kernel, and what its operator's name has in it.
MODELS = {
    "r": ("evit_tiny_k070", {"image_size": 64}, "Linear"),
    "b": ("evit_tiny_k070", {"image_size": 64}, "Linear"),
    "s": ("evit_tiny_k070", {"image_size": 64}, "Attention"),
    "p": ("shvit_s1", {"image_size": 64}, "InvertedBottleneck"),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_faulty(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, library: Path) -> dict[str, Path]:
    """Bundles with the faulty library under a seal of their own."""
    made = {}
    for name, options in {model[0]: model[1] for model in MODELS.values()}.items():
        folder = tmp_path_factory.mktemp("drill") / name
        attnc.export(name, target="cpu", output=folder, **options)
        manifest = json.loads((folder / "manifest.json").read_text())
        for held in manifest["kernels"]:
            shutil.copyfile(library, folder / held["path"])
        for entry in manifest["files"]:
            data = (folder / entry["path"]).read_bytes()
            entry["sha256"], entry["bytes"] = hashlib.sha256(data).hexdigest(), len(data)
        manifest["digest"] = content_digest(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        made[name] = folder
    return made


@pytest.mark.parametrize("name", ["evit_tiny_k070", "shvit_s1"])
def test_without_a_fault_all_is_well(name: str, cli: Any, bundles: dict[str, Path]) -> None:
    assert cli("verify", bundles[name]).code == 0
    assert cli("bisect", bundles[name]).code == 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.said.replace(" ", "-"))
def test_a_mutated_kernel(
    fault: Fault, cli: Any, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, operator = MODELS[fault.key]
    monkeypatch.setenv(VARIABLE, fault.key)
    assert cli("verify", bundles[name]).code == 1
    done = cli("bisect", bundles[name], "--json", "-")
    assert done.code == 1
    found = json.loads(done.out)
    assert found["stage"] == "kernels", found
    assert operator in found["place"]["operator"]
    assert found["place"]["module"]
    assert found["place"]["source"]
