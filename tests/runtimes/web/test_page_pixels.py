"""Pictures prepared by the page's modules, against ours: within one level of 255."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from attnc.compiler.manifest import Preprocessing
from attnc.runtimes.preprocess import fit, load_picture
from attnc.runtimes.web.browser import visit
from attnc.runtimes.web.files import HERE
from attnc.runtimes.web.server import serve
from attnc.tools.packaging.pictures import reference_pictures

pytestmark = pytest.mark.usefixtures("browser")

PIXELS = """async ([base, rule, name]) => {
  const { decode } = await import(base + "picture.js");
  const { fit } = await import(base + "preprocess.js");
  const blob = await (await fetch("/pictures/" + name)).blob();
  try { return Array.from(fit(await decode(blob), rule).bytes); }
  catch (error) { return error.code; } }"""
REFUSED = {"transparent": "transparent", "tooSmall": "too-small"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The modules and the reference pictures, and where they are served."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(HERE / "js", folder / "web")
    (folder / "pictures").mkdir()
    (folder / "index.html").write_text("<!doctype html><link rel='icon' href='data:,'>")
    for picture in reference_pictures():
        picture.save(folder / "pictures" / picture.file)
    with serve(folder) as base:
        yield folder, base


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_pixels_are_those_of_python(interpolation: str, site: tuple[Path, str]) -> None:
    folder, base = site
    rng = np.random.default_rng()
    rule = Preprocessing(
        image_size=(int(rng.integers(20, 90)), int(rng.integers(20, 90))),
        crop_fraction=round(float(rng.uniform(0.7, 1.0)), 3),
        interpolation=interpolation,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    with visit(f"{base}/index.html") as seen:
        for picture in reference_pictures():
            given = [f"{base}/web/", rule.model_dump(mode="json"), picture.file]
            found = seen.page.evaluate(PIXELS, given)
            if picture.refused:
                assert found == REFUSED[picture.refused]
                continue
            wanted = np.asarray(fit(load_picture(folder / "pictures" / picture.file), rule))
            distance = np.abs(np.array(found) - wanted.reshape(-1).astype(int)).max()
            assert distance <= 1, (picture.file, rule)
