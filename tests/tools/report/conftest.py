"""One report for all tests of the page: small bundles, with a verification and a benchmark."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]  # report_inputs.py, report_models.py

from report_inputs import timed, verified, written  # noqa: E402

from attnc.compiler.bundle import Bundle  # noqa: E402
from attnc.tools.report import examples  # noqa: E402
from attnc.tools.report.document import Document  # noqa: E402
from attnc.tools.report.gather import Wanted, gather  # noqa: E402

DATA = HERE.parents[1] / "data"


@pytest.fixture(scope="session", autouse=True)
def importable() -> Iterator[None]:
    """The factories of the small models are on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DATA))
        yield


@pytest.fixture(scope="session")
def folders(importable: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small bundles by name, not to be changed: of maps, and of kept tokens."""
    from attnc.compiler.cli.api import export

    folder = tmp_path_factory.mktemp("small")
    models = {"shvit": "report_models:shvit", "evit": "report_models:evit"}
    for name, model in models.items():
        export(model, output=folder / name)
    return {name: folder / name for name in models}


@pytest.fixture(scope="session")
def retraced() -> dict[str, Any]:
    """Graphs after the passes, by model, as the report's own tracing left them."""
    return {}


@pytest.fixture(scope="session")
def document(
    folders: dict[str, Path], retraced: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Document:
    """Gathered once, with everything that can be run."""
    folder = tmp_path_factory.mktemp("evidence")
    wanted = Wanted(
        verify=(written(folder / "verify.json", verified(model="report_models:shvit")),),
        bench=(written(folder / "bench.json", timed(model="report_models:shvit")),),
    )
    trace = examples.retrace

    def remembered(bundle: Bundle) -> Any:
        found, rewritten = trace(bundle)
        retraced[bundle.manifest.model] = rewritten
        return found, rewritten

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "retrace", remembered)
        return gather([Bundle.open(path) for path in folders.values()], wanted)
