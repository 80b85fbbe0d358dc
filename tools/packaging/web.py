"""The page of a web bundle: static, works offline, installs as an app."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UnsupportedError
from attnc.compiler.manifest import Manifest, Preprocessing
from attnc.compiler.manifest_parts import WebEntry
from attnc.compiler.progress import Progress
from attnc.tools.packaging.names import module_name
from attnc.tools.packaging.pictures import reference_pictures
from attnc.tools.packaging.rendering import render_tree

ICON_SIZES = (192, 512)
SAMPLE, WORKER = "sample.png", "sw.js"


def write(bundle: Bundle, folder: Path, progress: Progress) -> str:
    """See `Writer`."""
    return write_page(bundle, folder, webgpu=False)


def write_with_webgpu(bundle: Bundle, folder: Path, progress: Progress) -> str:
    """The same with the files of onnxruntime-web. Raises MissingRuntimeError without them."""
    progress.stage("copying onnxruntime-web")
    return write_page(bundle, folder, webgpu=True)


def write_page(bundle: Bundle, folder: Path, *, webgpu: bool) -> str:
    """Write the page and what it loads; returns its name."""
    entry, rule = _needed(bundle)
    name = module_name(bundle.manifest.model)
    _copy_model(bundle, entry, folder, webgpu=webgpu)
    reference_pictures()[0].save(folder / SAMPLE)
    for size in ICON_SIZES:
        icon(size, folder / f"icon-{size}.png")
    values = _values(bundle.manifest, rule, bundle.labels, folder) | {"webgpu": webgpu}
    render_tree("web", folder, name, {**values, "files": [], "version": ""})
    listed = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (WORKER, "README.md")
    )
    version = content_version(folder, listed)
    render_tree("web", folder, name, {**values, "files": ["./", *listed], "version": version})
    return name


def content_version(folder: Path, files: list[str]) -> str:
    """A name for exactly these files: another file makes browsers load all of them anew."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.encode() + b"\0" + (folder / file).read_bytes() + b"\0")
    return f"attnc-{digest.hexdigest()[:16]}"


def icon(size: int, path: Path) -> None:
    """A square of patches, of which some are kept."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (size, size), "#1f4b99")
    draw = ImageDraw.Draw(image)
    cells, edge = 4, size / 6
    kept = {(0, 1), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 2)}
    for row in range(cells):
        for column in range(cells):
            left, top = edge * (1 + column), edge * (1 + row)
            fill = "#ffffff" if (row, column) in kept else "#4a72bd"
            margin = size / 96
            box = (left + margin, top + margin, left + edge - margin, top + edge - margin)
            draw.rounded_rectangle(box, radius=size / 48, fill=fill)
    image.save(path, optimize=True)


def _needed(bundle: Bundle) -> tuple[WebEntry, Preprocessing]:
    entry, rule = bundle.manifest.web, bundle.manifest.preprocessing
    if entry is None or rule is None or bundle.manifest.batch != 1:
        raise UnsupportedError(
            "the bundle takes arrays; a page is for a model that takes one picture",
            where=str(bundle.path),
            remedy="export a model whose preprocessing is known, with --batch 1",
        )
    return entry, rule


def _copy_model(bundle: Bundle, entry: WebEntry, folder: Path, *, webgpu: bool) -> None:
    shutil.copytree(bundle.path / entry.folder, folder / "model" / "web")
    if not webgpu:
        return
    from attnc.runtimes.web.ortweb import WEBGPU, copy_files

    shutil.copyfile(bundle.model_path, folder / "model" / "model.onnx")
    (folder / "ort").mkdir()
    copy_files(WEBGPU, folder / "ort")


def _values(
    manifest: Manifest, rule: Preprocessing, labels: list[str] | None, folder: Path
) -> dict[str, object]:
    """What the templates say of the bundle."""
    height, width = rule.image_size
    weights = folder / "model" / "web" / "weights.bin"
    return {
        "title": f"{manifest.model} in the browser",
        "model": manifest.model,
        "digest": manifest.digest,
        "attnc": manifest.built_with.get("attnc", ""),
        "seeded": manifest.source.checkpoint_sha256 is None and manifest.source.seed is not None,
        "labelled": labels is not None,
        "width": width,
        "height": height,
        "megabytes": f"{weights.stat().st_size / 1e6:.0f}",
    }
