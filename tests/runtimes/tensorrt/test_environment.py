"""Whether TensorRT for RTX is here, and the library path under which its parser finds plugins."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attnc.compiler.errors import ExitCode, MissingRuntimeError
from attnc.runtimes.tensorrt import environment


def pretend(monkeypatch: pytest.MonkeyPatch, **specs: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: specs.get(name))


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    assert environment.rtx_version() is None
    with pytest.raises(MissingRuntimeError, match="parity in ONNX Runtime need no TensorRT") as no:
        environment.require_rtx()
    assert no.value.exit_code == ExitCode.MISSING_RUNTIME
    with pytest.raises(MissingRuntimeError), environment.build_environment():
        pass


def test_installed_by_other_means_than_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    pretend(monkeypatch, tensorrt_rtx=SimpleNamespace())
    monkeypatch.setattr(environment, "version", unknown)
    assert environment.rtx_version() == environment.require_rtx() == "unknown"


@pytest.mark.parametrize("places", [None, [], ["no/such/folder"]])
def test_libraries_that_are_missing(monkeypatch: pytest.MonkeyPatch, places: Any) -> None:
    spec = SimpleNamespace(submodule_search_locations=places)
    pretend(monkeypatch, tensorrt_rtx=SimpleNamespace(), tensorrt_rtx_libs=spec)
    with pytest.raises(MissingRuntimeError, match=r"has no libtensorrt_rtx\.so") as caught:
        environment.library_folder()
    assert "pip install tensorrt-rtx" in caught.value.render()


@pytest.mark.parametrize("before", ["", "/somewhere/else"])
def test_the_library_has_the_name_that_the_parser_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    (tmp_path / "libtensorrt_rtx.so.1").write_bytes(b"a library")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    pretend(monkeypatch, tensorrt_rtx=SimpleNamespace(), tensorrt_rtx_libs=spec)
    monkeypatch.setattr(environment, "version", lambda name: "1.7")
    monkeypatch.setenv("LD_LIBRARY_PATH", before)
    with environment.build_environment() as found:
        first, *rest = found["LD_LIBRARY_PATH"].split(os.pathsep)
        assert (Path(first) / "libtensorrt_rtx.so").read_bytes() == b"a library"
        assert rest == ([before] if before else [])
        assert found["PATH"] == os.environ["PATH"]
    assert not Path(first).exists()
    assert os.environ["LD_LIBRARY_PATH"] == before
