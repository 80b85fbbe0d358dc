"""Shared by the test folders: bundles exported once per run, and the command line as a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).resolve().parent / "data"


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True, scope="session")
def no_timing() -> Iterator[None]:
    """Exports keep every fused operator, so that no test depends on how fast anything was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTNC_MEASURE", "0")
        yield


Cli = Callable[..., Done]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """`cli("list", "models")` runs the command in this process."""
    from attnc.compiler.cli.main import app

    def call(*arguments: object) -> Done:
        capfd.readouterr()
        try:
            app([str(argument) for argument in arguments])
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        done = Done(code, *capfd.readouterr())
        assert "Traceback" not in done.err
        return done

    return call


@pytest.fixture
def importable_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/data` is on the path, for factories such as `tiny_net:build`."""
    monkeypatch.syspath_prepend(str(DATA))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convolutional net from a factory, batch 2; not to be changed."""
    return _export(tmp_path_factory, "tiny_net:build", batch=2)


@pytest.fixture(scope="session")
def shvit_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SHViT S1 at 64x64 with a dynamic batch; not to be changed."""
    return _export(tmp_path_factory, "shvit_s1", image_size=64, batch="dynamic")


def _export(factory: pytest.TempPathFactory, model: str, **options: Any) -> Path:
    from own_models import export_own

    return export_own(model, factory.mktemp("bundle") / model.partition(":")[0], **options)


@pytest.fixture(scope="session")
def browser() -> None:
    """Chromium and playwright, or the reason why not."""
    from attnc.compiler.errors import MissingRuntimeError
    from attnc.tools.browser import ready_browser

    pytest.importorskip("playwright")
    try:
        ready_browser()
    except MissingRuntimeError as error:
        pytest.skip(error.message)
