"""Labelled pictures: the same digits are held out for good, and folders are read with care."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnc.compiler.errors import UsageError
from attnc.runtimes import dataset as module
from attnc.runtimes.dataset import digits, held_out, image_folder, open_dataset


def folder_of(path: Path, **groups: int) -> Path:
    """`groups` pictures of each class."""
    for name, count in groups.items():
        (path / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (16, 12), (index, 0, 0)).save(path / name / f"{index}.png")
    return path


def test_the_parts_share_no_scan_and_hold_all() -> None:
    pytest.importorskip("sklearn")
    training, held = digits("training"), digits("held-out")
    assert len(training.samples) == 1347
    assert len(held.samples) == 450
    assert not {s.name for s in training.samples} & {s.name for s in held.samples}
    counts = np.bincount([sample.label for sample in held.samples])
    assert counts.min() == 44
    assert counts.max() == 46


def test_the_split_is_fixed_for_good() -> None:
    """Shipped weights were trained on the rest."""
    held = held_out(np.arange(40) % 2)
    assert np.flatnonzero(held).tolist() == [2, 8, 12, 16, 23, 25, 31, 32, 33, 35]
    pytest.importorskip("sklearn")
    first = [sample.name for sample in digits("held-out").samples[:4]]
    assert first == ["digit-0005", "digit-0007", "digit-0014", "digit-0017"]


def test_a_digit_is_a_small_picture_of_white_ink() -> None:
    pytest.importorskip("sklearn")
    sample = digits("held-out").samples[0]
    picture = sample.open()
    assert (picture.mode, picture.size) == ("RGB", (8, 8))
    pixels = np.asarray(picture)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert pixels.max() == 255
    assert pixels[0, 0, 0] == 0


def test_without_scikit_learn_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(module.MissingRuntimeError, match="scikit-learn"):
        digits("held-out")


def test_classes_are_sorted_folders(tmp_path: Path) -> None:
    found = image_folder(folder_of(tmp_path, dog=2, cat=1))
    assert found.classes == ("cat", "dog")
    assert [(s.name, s.label) for s in found.samples] == [
        ("cat/0.png", 0),
        ("dog/0.png", 1),
        ("dog/1.png", 1),
    ]
    assert found.samples[2].open().getpixel((0, 0)) == (1, 0, 0)


def test_labels_give_the_order(tmp_path: Path) -> None:
    found = open_dataset(str(folder_of(tmp_path, dog=1, cat=1)), ["dog", "bird", "cat"])
    assert found.classes == ("dog", "bird", "cat")
    assert [sample.label for sample in found.samples] == [2, 0]


def test_fewer_pictures_are_spread_over_the_classes(tmp_path: Path) -> None:
    found = image_folder(folder_of(tmp_path, a=4, b=4))
    assert [s.name for s in found.spread(4).samples] == ["a/0.png", "a/2.png", "b/0.png", "b/2.png"]
    assert found.spread(9) == found.spread(None) == found


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of pictures") as caught:
        open_dataset(str(tmp_path / "gone"))
    assert "--dataset digits" in caught.value.remedy
    with pytest.raises(UsageError, match="holds no folders"):
        image_folder(tmp_path)
    folder_of(tmp_path, cat=1, dog=0)
    with pytest.raises(UsageError, match="the class dog has no pictures"):
        image_folder(tmp_path)


def test_a_damaged_picture_is_named_at_once(tmp_path: Path) -> None:
    broken = folder_of(tmp_path, cat=2) / "cat" / "1.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(UsageError, match=r"1\.png is not a picture"):
        image_folder(tmp_path)


def test_a_folder_that_is_no_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no class 'cat'") as caught:
        image_folder(folder_of(tmp_path, cat=1), ["dog", "bird"])
    assert "dog, bird" in caught.value.remedy
