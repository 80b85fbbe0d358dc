"""The page of a web bundle in headless Chromium: it loads, classifies, and works offline."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaged import assert_same_bytes, files_of

import attnc
from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.preprocess import load_picture, preprocess
from attnc.runtimes.web.browser import WEBGPU, Visit, visit
from attnc.runtimes.web.ortweb import WASM, copy_files
from attnc.runtimes.web.runner import WebRunner
from attnc.runtimes.web.server import serve
from attnc.tools.packaging.kinds import write_package
from attnc.tools.packaging.pictures import reference_pictures

ROOT = Path(__file__).resolve().parents[3]
ARTEFACTS = ROOT / "build" / "artefacts"
pytestmark = pytest.mark.usefixtures("browser")
WAIT = 60_000  # milliseconds
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
DENIED = """() => { navigator.mediaDevices.getUserMedia =
  async () => { throw new DOMException("no", "NotAllowedError"); }; }"""
LOGITS = """async ([backend, threads, base, values]) => {
  const { openModel } = await import(base + "model/web/model.js");
  const runtime = base + "ort/";
  const model = await openModel({ base: base + "model/web/", runtime, backend, threads });
  const { logits } = await model.run(Float32Array.from(values));
  const said = model.describe();
  await model.close();
  return { logits: Array.from(logits), ...said };
}"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of maps, and one that keeps tokens."""
    folder = tmp_path_factory.mktemp("bundles")
    for name in ("shvit_s1", "evit_tiny_k070"):
        size = 64 if name == "shvit_s1" else None
        attnc.export(name, target="web", output=folder / name, image_size=size)
    return {name: folder / name for name in ("shvit_s1", "evit_tiny_k070")}


@pytest.fixture(scope="module")
def pages(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, bundle in bundles.items():
        write_package(bundle, "web", folder / name)
    return {name: folder / name for name in bundles}


def ready(seen: Visit) -> None:
    seen.page.wait_for_selector("body[data-ready], body[data-error]", timeout=WAIT)
    assert seen.page.query_selector("body[data-ready]"), seen.page.inner_text("#error")


def classified(seen: Visit, times: int = 1) -> list[str]:
    seen.page.wait_for_selector(f"body[data-classified='{times}']", timeout=WAIT)
    return [line.split("\n")[0] for line in seen.page.locator("#labels li").all_inner_texts()]


def expected(bundle: Path, picture: Path) -> list[str]:
    opened = Bundle.open(bundle)
    rule = opened.manifest.preprocessing
    assert rule is not None
    with WebRunner(opened) as runner:
        array = preprocess(load_picture(picture), rule)
        logits = runner.infer({runner.inputs[0].name: array})[runner.outputs[0].name][0]
    return [f"class {index}" for index in np.argsort(-logits, kind="stable")[:5]]


def no_complaints(seen: Visit, base: str) -> None:
    assert seen.errors == []
    assert seen.elsewhere(base) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_the_sample_is_classified_as_python_does(
    threads: int, bundles: dict[str, Path], pages: dict[str, Path]
) -> None:
    page = pages["shvit_s1"]
    with serve(page) as base, visit(f"{base}/?threads={threads}") as seen:
        ready(seen)
        assert f"{threads} thread" in seen.page.inner_text("#status")
        seen.page.click("#sample")
        assert classified(seen) == expected(bundles["shvit_s1"], page / "sample.png")
        no_complaints(seen, base)


@pytest.mark.parametrize(
    ("backend", "threads"),
    [
        ("engine", 1),
        ("engine", 2),
        pytest.param("ort-wasm", 1, marks=pytest.mark.slow),
        ("ort-wasm", 2),
        pytest.param("webgpu", 1, marks=pytest.mark.slow),
    ],
)
def test_logits_are_those_of_python(
    backend: str, threads: int, bundles: dict[str, Path], tmp_path: Path
) -> None:
    bundle = Bundle.open(bundles["shvit_s1"])
    try:
        write_package(bundle.path, "web", tmp_path / "page", webgpu=True)
        copy_files(WASM, tmp_path / "page" / "ort")
    except MissingRuntimeError as error:
        pytest.skip(error.message)
    array = np.random.default_rng().standard_normal((1, 3, 64, 64), dtype=np.float32)
    with WebRunner(bundle) as runner:
        wanted = runner.infer({runner.inputs[0].name: array})[runner.outputs[0].name]
    flags = WEBGPU if backend == "webgpu" else ()
    with serve(tmp_path / "page") as base, visit(f"{base}/style.css", flags=flags) as seen:
        given: Any = [backend, threads, f"{base}/", array.ravel().tolist()]
        found = seen.page.evaluate(LOGITS, given)
        assert found["threads"] == threads
        np.testing.assert_allclose(np.array(found["logits"]), wanted[0], atol=1e-3)
        assert seen.elsewhere(base) == []


def test_offline_it_works_as_before(pages: dict[str, Path]) -> None:
    """A plain static host: the service worker keeps the files and brings the headers."""
    with serve(pages["shvit_s1"], isolated=False) as base, visit(f"{base}/?threads=2") as seen:
        ready(seen)
        assert seen.page.evaluate("crossOriginIsolated")
        seen.page.click("#sample")
        before = classified(seen)
        seen.context.set_offline(True)
        seen.page.reload()
        ready(seen)
        seen.page.click("#sample")
        assert classified(seen) == before
        no_complaints(seen, base)


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)], ids=["wide", "phone"])
def test_kept_tokens_are_drawn(size: tuple[int, int], pages: dict[str, Path]) -> None:
    with serve(pages["evit_tiny_k070"]) as base, visit(base, size=size) as seen:
        ready(seen)
        seen.page.click("#sample")
        classified(seen)
        plain = dark(seen)
        shares = []
        for stage in (1, 2, 3):
            seen.page.click(f"text=tokens kept, stage {stage}")
            shares.append(dark(seen))
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        seen.page.screenshot(path=ARTEFACTS / f"page-{size[0]}.png", full_page=True)
        assert plain < shares[0] < shares[1] < shares[2]
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        no_complaints(seen, base)


@pytest.mark.slow
def test_slots_are_drawn(tmp_path: Path) -> None:
    """In colours of the slots, which the picture alone does not have."""
    attnc.export("glnet_stl", target="web", output=tmp_path / "b", image_size=64)
    write_package(tmp_path / "b", "web", tmp_path / "page")
    with serve(tmp_path / "page") as base, visit(base) as seen:
        ready(seen)
        seen.page.click("#sample")
        classified(seen)
        plain = pixels(seen)
        seen.page.locator("input[name=view]").nth(1).check()
        assert np.abs(pixels(seen) - plain).mean() > 10
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        seen.page.screenshot(path=ARTEFACTS / "page-slots.png", full_page=True)
        no_complaints(seen, base)


def pixels(seen: Visit) -> np.ndarray:
    """The canvas: red, green, blue and opacity, from 0 to 255."""
    script = """() => { const c = document.getElementById("shown");
      return Array.from(c.getContext("2d").getImageData(0, 0, c.width, c.height).data); }"""
    return np.array(seen.page.evaluate(script), float).reshape(-1, 4)


def dark(seen: Visit) -> float:
    """The mean darkness of the canvas."""
    return float(1 - pixels(seen)[:, :3].mean() / 255)


def test_by_keyboard(pages: dict[str, Path]) -> None:
    with serve(pages["shvit_s1"]) as base, visit(base) as seen:
        ready(seen)
        for _ in range(2):
            seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.id") == "sample"
        seen.page.keyboard.press("Enter")
        assert len(classified(seen)) == 5


def test_a_file_that_is_no_picture(pages: dict[str, Path], tmp_path: Path) -> None:
    wrong = tmp_path / "notes.txt"
    wrong.write_text("no picture")
    clear = next(each for each in reference_pictures() if each.refused == "transparent")
    clear.save(tmp_path / clear.file)
    with serve(pages["shvit_s1"]) as base, visit(base) as seen:
        ready(seen)
        seen.page.set_input_files("#file", wrong)
        seen.page.wait_for_selector("body[data-error='not-a-picture']", timeout=WAIT)
        assert "notes.txt is not a picture" in seen.page.inner_text("#error")
        seen.page.set_input_files("#file", tmp_path / clear.file)
        seen.page.wait_for_selector("body[data-error='transparent']", timeout=WAIT)
        seen.page.click("#sample")
        classified(seen)
        assert not seen.page.is_visible("#error")


def test_the_camera(pages: dict[str, Path]) -> None:
    with (
        serve(pages["shvit_s1"]) as base,
        visit(base, flags=CAMERA, permissions=["camera"]) as seen,
    ):
        ready(seen)
        seen.page.click("#camera")
        seen.page.wait_for_selector("#save:visible", timeout=WAIT)
        seen.page.wait_for_function("document.getElementById('video').videoWidth > 0")
        seen.page.click("#save")
        assert len(classified(seen)) == 5


def test_a_camera_that_may_not_be_used(pages: dict[str, Path]) -> None:
    with serve(pages["shvit_s1"]) as base, visit(base) as seen:
        ready(seen)
        seen.page.evaluate(DENIED)
        seen.page.click("#camera")
        seen.page.wait_for_selector("body[data-error='camera-denied']", timeout=WAIT)
        assert "allow it" in seen.page.inner_text("#error")


def test_a_browser_without_simd(pages: dict[str, Path]) -> None:
    with serve(pages["shvit_s1"]) as base, visit(f"{base}/style.css") as seen:
        script = """async (base) => {
          const code = "self.WebAssembly.validate = () => false;" +
            `import("${base}engine-worker.js");`;
          const blob = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
          const worker = new Worker(blob, { type: "module" });
          await new Promise((resolve) => setTimeout(resolve, 500));
          return new Promise((resolve) => { worker.onmessage = (e) => resolve(e.data.error);
            worker.postMessage({ id: 0, what: "open", base, threads: 1 }); }); }"""
        error = seen.page.evaluate(script, f"{base}/model/web/")
        assert error["code"] == "no-wasm-simd"


def test_weights_that_are_cut_off(pages: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(pages["shvit_s1"], tmp_path / "page")
    weights = tmp_path / "page" / "model" / "web" / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-64])
    with serve(tmp_path / "page") as base, visit(base) as seen:
        seen.page.wait_for_selector("body[data-error='bad-bundle']", timeout=WAIT)


def test_paths_that_the_page_names_exist(pages: dict[str, Path]) -> None:
    page = pages["shvit_s1"]
    text = (page / "index.html").read_text()
    named = re.findall(r'(?:href|src)="([^"]+)"', text)
    worker = re.search(r"const FILES = (\[.*?\]);", (page / "sw.js").read_text(), re.DOTALL)
    assert worker is not None
    kept = [path for path in json.loads(worker.group(1)) if path != "./"]
    icons = [
        each["src"] for each in json.loads((page / "manifest.webmanifest").read_text())["icons"]
    ]
    for path in (*named, *kept, *icons):
        assert (page / path).is_file(), path
    assert files_of(page) - set(kept) == {"sw.js", "README.md"}


def test_twice_the_same_bytes(
    bundles: dict[str, Path], pages: dict[str, Path], tmp_path: Path
) -> None:
    write_package(bundles["shvit_s1"], "web", tmp_path / "again")
    assert_same_bytes(pages["shvit_s1"], tmp_path / "again")
