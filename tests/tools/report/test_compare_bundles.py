"""What differs between two bundles is found, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnc.compiler.bundle import Bundle
from attnc.tools.report.comparing import Comparison, compare_bundles
from attnc.tools.report.document import Document


def compared(folders: tuple[Path, Path], document: Document, places: tuple[int, int]) -> Comparison:
    bundles = (Bundle.open(folders[0]), Bundle.open(folders[1]))
    parts = (document.bundles[places[0]], document.bundles[places[1]])
    return compare_bundles(bundles, parts)


def test_a_bundle_does_not_differ_from_itself(document: Document, folders: dict[str, Path]) -> None:
    found = compared((folders["shvit"], folders["shvit"]), document, (0, 0))
    assert found.differences == 0
    assert found.differing == []
    assert found.notes == ()
    outputs = [row.item for row in found.rows if row.section == "outputs"]
    assert outputs[0].startswith("outputs of the sources")
    assert outputs[-1] == "outputs of the bundles"


def test_two_models_differ(document: Document, folders: dict[str, Path]) -> None:
    found = compared((folders["shvit"], folders["evit"]), document, (0, 1))
    rows = {(row.section, row.item): row for row in found.differing}
    assert rows["source", "model"].b == "report_models:evit"
    assert rows["passes", "fuse_select_tokens"].a == 0
    assert rows["operators", "attnc::SelectTokens"].a is None
    assert rows["sizes, MB", "weights"].change is not None
    assert rows["parity", "verification"].a == "not verified"
    assert {note.about for note in found.notes} == {
        "outputs of the sources",
        "outputs of the bundles",
    }
    assert "verdicts" in {section for section, _ in rows}


@pytest.mark.parametrize("run", [True, False])
def test_outputs_that_differ_are_told(
    run: bool, document: Document, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from attnc.tools.report import comparing

    calls = iter((1.0, 2.0))
    found = comparing._logits

    def twisted(bundle: Bundle, array: object) -> object:
        return found(bundle, array) * next(calls)

    monkeypatch.setattr(comparing, "_logits", twisted)
    bundle = Bundle.open(folders["shvit"])
    parts = (document.bundles[0], document.bundles[0])
    comparison = compare_bundles((bundle, bundle), parts, run=run)
    assert [row.b for row in comparison.differing] == ([0.5] if not run else [1.0])[: int(run)]
