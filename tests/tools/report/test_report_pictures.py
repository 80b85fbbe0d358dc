"""Where models look: places through the stages, mixed colours of slots, keys by the reference."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import attnc
from attnc.compiler.bundle import Bundle
from attnc.compiler.ops.registry import get
from attnc.tools.report.document import Document, Picture
from attnc.tools.report.gather import Wanted, gather
from attnc.tools.report.pictures import kept, kept_tokens, slots
from attnc.tools.report.watching import Looked, kept_keys, watch

WHITE = np.full((64, 64, 3), 255, np.uint8)


def pixels(picture: Picture) -> np.ndarray:
    kind, _, data = picture.data.partition(",")
    assert kind == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == (picture.width, picture.height)
    return np.asarray(image, float)


def stage(index: list[int], tokens: int, fuse: int) -> Looked:
    given = np.zeros((1, tokens + 1, 8))
    return Looked("SelectTokens", "b", {"fuse": fuse}, (given,), {1: np.array([index])})


def test_places_are_followed_through_the_stages() -> None:
    """The second stage counts what the first left, its fused token last."""
    seen = [stage([5, 0, 10, 15], 16, 1), stage([4, 2, 0], 5, 1)]
    first, second = kept_tokens("p", WHITE, seen)
    assert first.caption == "p: stage 1 keeps 4 of 16 tokens"
    assert second.caption == "p: stage 2 keeps 2 of 16 tokens"  # the third kept one was fused
    bright = pixels(second).mean(axis=2)
    side = second.width // 4
    lit = {
        (row, column)
        for row in range(4)
        for column in range(4)
        if bright[row * side + side // 2, column * side + side // 2] > 200
    }
    assert lit == {(2, 2), (1, 1)}


def test_slots_have_colours_of_their_own() -> None:
    logits = np.full((1, 16, 4), -20.0)
    logits[0, np.arange(16), np.arange(16) // 4] = 20.0
    (picture,) = slots("p", WHITE, [Looked("SlotCluster", "b", {}, (), {1: logits})])
    rows = pixels(picture)[picture.height // 8 :: picture.height // 4, picture.width // 2]
    assert len({tuple(row) for row in (rows // 16).astype(int)}) == 4
    assert "4 slots over 4 by 4 tokens" in picture.caption


def test_kept_keys_are_those_of_the_operator() -> None:
    """Keys that no query keeps do not matter to what the operator's reference gives."""
    rng = np.random.default_rng(0)
    operator = get("SparseAttention")
    example = operator.examples(rng)[0]
    seen = Looked("SparseAttention", "b", dict(example.attributes), example.inputs, {})
    chosen = kept_keys(seen)
    heads, tokens = int(example.attributes["heads"]), example.inputs[0].shape[1]
    assert chosen.shape == (heads, tokens, tokens)
    most = int(example.attributes["keep"])
    assert chosen[:, 1:].sum(axis=2).max() <= most


def test_a_query_is_framed_among_its_keys() -> None:
    example = get("SparseAttention").examples(np.random.default_rng(0))[0]
    tokens = example.inputs[0].shape[1] - 1
    white = np.full((32, 32 * tokens, 3), 255, np.uint8)
    seen = Looked("SparseAttention", "b", dict(example.attributes), example.inputs, {})
    (picture,) = kept("p", white, [seen])
    assert f"query in row 1, column {tokens // 2 + 1}: " in picture.caption
    assert f"of {tokens} keys" in picture.caption


def test_a_model_that_keeps_tokens_shows_them(document: Document) -> None:
    shown = document.bundles[1].pictures
    assert {picture.kind for picture in shown} == {"kept-tokens"}
    photos = [picture.photo for picture in shown]
    assert [photos.count(photo) for photo in dict.fromkeys(photos)] == [2, 2]
    for picture in shown:
        assert len(picture.data) < 55_000  # in base64, of at most 40 kB
        assert picture.alternative.endswith(picture.caption)
        assert np.ptp(pixels(picture)) > 100


def test_a_model_that_looks_everywhere_has_no_pictures(document: Document) -> None:
    assert document.bundles[0].pictures == ()


def test_the_graph_after_the_passes_is_watched_where_the_bundle_hides_it(
    folders: dict[str, Path], document: Document, retraced: dict[str, Any]
) -> None:
    bundle, rewritten = Bundle.open(folders["evit"]), retraced[document.bundles[1].identity.model]
    own = watch(bundle, None)
    hidden = Bundle(folders["evit"] / "nowhere", bundle.manifest)
    other = watch(hidden, rewritten)
    assert own is not None
    assert other is not None
    array = np.random.default_rng(1).standard_normal((1, 3, 96, 96), dtype=np.float32)
    for one, two in zip(own.look(array), other.look(array), strict=True):
        assert (one.operator, one.module) == (two.operator, two.module)
        np.testing.assert_array_equal(one.outputs[1], two.outputs[1])
    assert watch(hidden, None) is None


def test_noise_fits_into_its_bytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)
    (picture,) = kept_tokens("p", noise, [stage(list(range(16)), 16, 0)])
    assert len(picture.data) < 55_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "kind", "size", "count"),
    [
        ("evit_tiny_k070", "kept-tokens", None, 6),
        ("glnet_stl", "slots", 64, 6),
        ("small_sparsifiner:plain", "kept-keys", None, 2),
    ],
)
def test_whole_models_show_where_they_look(
    model: str, kind: str, size: int | None, count: int, tmp_path: Path
) -> None:
    attnc.export(model, target="cpu", output=tmp_path / "b", image_size=size)
    (part,) = gather([Bundle.open(tmp_path / "b")], Wanted()).bundles
    assert {picture.kind for picture in part.pictures} == {kind}
    assert len(part.pictures) == count
    assert part.profile is not None
    unknown = [share for share in part.profile.modules if share.name == "(no module)"]
    assert sum(share.nodes for share in unknown) <= 2
    assert part.notes == ()
