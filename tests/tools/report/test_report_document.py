"""The document says what the manifest says, and what a run found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.tools.report import examples, session_profile
from attnc.tools.report.document import Document, json_schema
from attnc.tools.report.gather import Wanted, gather


def test_it_is_read_back_from_its_json(document: Document) -> None:
    text = json.dumps(document.model_dump(mode="json"), allow_nan=False)
    assert Document.model_validate_json(text) == document


def test_its_schema_is_closed_and_names_every_part() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert {"bundles", "machine", "attnc"} <= set(schema["properties"])
    assert {"BundleReport", "Verification", "Roof", "Picture"} <= set(schema["$defs"])


def test_it_says_what_the_manifest_says(document: Document, folders: dict[str, Path]) -> None:
    manifest, part = Bundle.open(folders["shvit"]).manifest, document.bundles[0]
    assert part.identity.digest == manifest.digest
    assert part.identity.weights_sha256 == manifest.source.weights_sha256
    assert [line.matches for line in part.passes] == [entry.matches for entry in manifest.passes]
    assert part.nodes_traced == manifest.passes[0].nodes_before
    assert part.operators == manifest.operators
    assert len(part.verdicts) == len(manifest.verdicts)
    assert part.notes == ()


def test_time_goes_to_torch_modules_through_fused_operators(document: Document) -> None:
    profile = document.bundles[0].profile
    assert profile is not None
    assert profile.attributed_percent == 100.0
    assert {"patch_embed", "blocks1", "blocks2", "blocks3", "head"} == {
        share.name.split(".")[0] for share in profile.modules
    }
    assert sum(share.nodes for share in profile.operators) == sum(
        share.nodes for share in profile.modules
    )
    assert "SingleHeadAttentionNhwc" in {share.name for share in profile.operators}


def test_the_roof_covers_the_fused_operators(document: Document) -> None:
    profile = document.bundles[0].profile
    assert profile is not None
    assert profile.roof is not None
    roof = profile.roof
    assert {point.operator for point in roof.points} <= {each.name for each in profile.operators}
    assert roof.gigaflops > 0
    assert "MatMul" in roof.method
    assert all(point.megaflops > 0 and point.kilobytes > 0 for point in roof.points)


def test_each_fusion_has_an_example(document: Document) -> None:
    found = {example.step: example for example in document.bundles[0].examples}
    matched = {
        line.name
        for line in document.bundles[0].passes
        if line.matches and line.name.startswith("fuse_")
    }
    assert matched == set(found)
    mixer = found["fuse_single_head_attention"]
    assert [box.operator for box in mixer.after] == ["SingleHeadAttention"]
    assert "Softmax" in [box.operator for box in mixer.before]
    assert mixer.left_out > 0
    assert mixer.module.startswith("blocks")
    assert mixer.line.startswith("shvit.py:")
    block = found["fuse_feed_forward"]
    assert [box.operator for box in block.before] == ["Conv", "Relu", "Conv", "Add"]
    assert [box.feeds for box in block.before] == [(1,), (2,), (3,), ()]


def test_near_misses_have_their_reasons(document: Document, folders: dict[str, Path]) -> None:
    manifest = Bundle.open(folders["evit"]).manifest
    listed = [place for entry in manifest.passes for place in entry.near_misses]
    shown = document.bundles[1].near_misses
    assert sum(line.count for line in shown if line.step != "lowering") == len(listed)
    assert all(line.reason and line.node for line in shown)


def test_quick_runs_nothing(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr(session_profile, "profile_bundle", fail)
    monkeypatch.setattr(examples, "retrace", fail)
    (part,) = gather([Bundle.open(folders["shvit"])], Wanted(quick=True)).bundles
    assert part.profile is None
    assert part.examples == part.pictures == part.notes == ()
    assert part.passes


def test_what_cannot_be_had_is_a_note(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: object) -> None:
        raise UsageError("the source is not where it was")

    def missing(*arguments: object) -> None:
        raise MissingRuntimeError("no kernels for this machine")

    monkeypatch.setattr(session_profile, "profile_bundle", missing)
    monkeypatch.setattr(examples, "retrace", gone)
    (part,) = gather([Bundle.open(tiny_bundle)]).bundles
    assert [(note.about, note.reason) for note in part.notes] == [
        ("profile", "no kernels for this machine"),
        ("examples of the passes", "the source is not where it was"),
    ]


@pytest.mark.usefixtures("importable_data")
def test_it_verifies_when_asked(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "retrace", lambda bundle: ([], None))
    (part,) = gather([Bundle.open(tiny_bundle)], Wanted(run=True)).bundles
    (found,) = part.verifications
    assert found.ok
    assert found.verified == len([check for check in found.checks if check.status == "verified"])


def test_bundles_of_one_source_are_traced_once(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = []
    monkeypatch.setattr(examples, "retrace", lambda bundle: (traced.append(bundle) or [], None))
    bundle = Bundle.open(tiny_bundle)
    assert len(gather([bundle, bundle]).bundles) == 2
    assert len(traced) == 1


def test_photographs_that_were_promised_must_be_there(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no pictures"):
        gather([Bundle.open(tiny_bundle)], Wanted(images=tmp_path, quick=True))
