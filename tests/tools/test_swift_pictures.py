"""The Swift that prepares pictures against ours, to the last bit; needs a Swift compiler."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from attnc.compiler.manifest import Preprocessing
from attnc.runtimes.preprocess import fit
from attnc.tools.packaging.pictures import ORIENTATION_TAG, waves
from attnc.tools.packaging.rendering import TEMPLATES

pytestmark = pytest.mark.skipif(shutil.which("swiftc") is None, reason="no Swift compiler")

#: The sources that need nothing of Apple's.
PLAIN = ("Picture", "Preparation", "Interpolation", "ClassifierError", "Classification")
MAIN = """
import Foundation

enum Specification {
    static let (width, height, cropFraction) = (0, 0, 0.0)
    static let interpolation = Interpolation.nearest
}

struct Case: Decodable {
    let size, target: [Int]
    let bytes: [UInt8]
    let crop: Double
    let filter: String
    let orientation: UInt32
}

let filters: [String: Interpolation] = [
    "nearest": .nearest, "bilinear": .bilinear, "bicubic": .bicubic, "lanczos": .lanczos,
]
let cases = try JSONDecoder().decode(
    [Case].self, from: Data(contentsOf: URL(fileURLWithPath: CommandLine.arguments[1])))
for each in cases {
    let stored = Picture(width: each.size[0], height: each.size[1], bytes: each.bytes)
    let made = try stored.upright(from: each.orientation).fitted(
        width: each.target[0], height: each.target[1], cropFraction: each.crop,
        by: filters[each.filter]!)
    print(made.bytes)
}
print(Classification.best(3, of: [1, 3, 2, 3], names: []).map { [Double($0.index), $0.score] })
print(Classification.best(1, of: [0, 1], names: ["a", "b"]).map(\\.name))
"""
SIZES = [(97, 61), (50, 90), (40, 131), (9, 8), (211, 200), (64, 64)]


def case(size: tuple[int, int], **how: Any) -> dict[str, Any]:
    made = {"target": (32, 24), "crop": 0.875, "filter": "bicubic", "orientation": 1, **how}
    return {"size": size, "bytes": waves(*size).reshape(-1).tolist(), **made}


def expected(given: dict[str, Any]) -> np.ndarray[Any, Any]:
    image = Image.fromarray(waves(*given["size"]))
    image.getexif()[ORIENTATION_TAG] = given["orientation"]
    width, height = given["target"]
    rule = Preprocessing(
        image_size=(height, width),
        crop_fraction=given["crop"],
        interpolation=given["filter"],
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    return np.asarray(fit(ImageOps.exif_transpose(image), rule)).reshape(-1)


def test_every_bit(tmp_path: Path) -> None:
    cases = [
        *(case(size, filter=name) for size in SIZES for name in ("nearest", "bilinear", "lanczos")),
        *(case(size, crop=crop) for size in SIZES for crop in (0.875, 0.9, 1.0)),
        *(case(SIZES[0], orientation=orientation) for orientation in range(1, 9)),
        case((64, 64), target=(64, 64), crop=1.0),
    ]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    (tmp_path / "main.swift").write_text(MAIN)
    for name in PLAIN:
        template = TEMPLATES / "swiftpm" / "Sources" / "__name__" / f"{name}.swift.j2"
        shutil.copyfile(template, tmp_path / f"{name}.swift")
    sources = ["main.swift", *(f"{name}.swift" for name in PLAIN)]
    build = ["swiftc", "-swift-version", "5", *sources, "-o", "fit"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    run = ["./fit", "cases.json"]
    done = subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True)
    *made, best, names = done.stdout.splitlines()
    assert len(made) == len(cases)
    for given, line in zip(cases, made, strict=True):
        told = {key: value for key, value in given.items() if key != "bytes"}
        np.testing.assert_array_equal(json.loads(line), expected(given), str(told))
    scores = np.exp([3.0, 3.0, 2.0]) / np.exp([1.0, 3.0, 2.0, 3.0]).sum()
    np.testing.assert_allclose(json.loads(best), list(zip([1, 3, 2], scores, strict=True)))
    assert json.loads(names) == ["b"]
