"""Right inputs of every parser, and what damages them: bytes, lengths, words with a meaning."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from own_models import export_own
from PIL import Image
from safetensors.torch import save

from attnc.compiler.bundle import Bundle
from attnc.compiler.manifest import Preprocessing, content_digest, read_manifest
from attnc.compiler.trace.onnx_file import load_onnx
from attnc.model_defs.checkpoints import read_checkpoint
from attnc.runtimes.preprocess import load_picture, preprocess
from attnc.targets.profile import read_profile
from attnc.tools.gate.budget import load_budgets
from attnc.tools.trust import minisign

ROOT = Path(__file__).resolve().parents[2]
RULE = Preprocessing(
    image_size=(8, 8), crop_fraction=1.0, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1)
)
#: Numbers at limits, and words that lead out of a folder or into another format.
WORDS = (b"../", b"/etc/passwd", b"\0", b"\xff\xff\xff\xff", b"null", b"-1", b"1e999", b'"', b"{}")


@dataclass(frozen=True)
class Parser:
    """`seeds` are right inputs, `read` opens a file of that name."""

    name: str
    file: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]


def parsers(folder: Path) -> list[Parser]:
    """All that read what somebody else may have written."""
    own = {"target": "cpu", "kernels": False}
    bundle = export_own("tiny_net:build", folder / "bundle", **own)
    pictures = tuple(_pictures())
    weights = {"head.weight": torch.ones(3, 4), "head.bias": torch.zeros(3)}
    archive = io.BytesIO()
    torch.save(weights, archive)
    key = minisign.new_key()
    signature = minisign.sign(b"x", key, "c").encode()
    public = key.public()
    profile = (ROOT / "targets" / "profiles" / "web.toml").read_bytes()
    budgets = (ROOT / "tools" / "gate" / "nano.toml").read_bytes()
    manifest = (bundle / "manifest.json").read_bytes()
    return [
        Parser("manifest", "manifest.json", (manifest,), read_manifest),
        Parser("bundle", "manifest.json", (manifest,), lambda path: _open(path, bundle)),
        Parser("onnx", "m.onnx", ((bundle / "model.onnx").read_bytes(), _plain(folder)), load_onnx),
        Parser("safetensors", "w.safetensors", (save(weights),), read_checkpoint),
        Parser("torch", "w.pth", (archive.getvalue(),), read_checkpoint),
        Parser("picture", "p.png", pictures, lambda path: preprocess(load_picture(path), RULE)),
        Parser("profile", "p.toml", (profile,), read_profile),
        Parser("budgets", "b.toml", (budgets,), load_budgets),
        Parser("signature", "s", (signature,), lambda path: minisign.check(b"x", path, public)),
        Parser("key", "k", (key.text().encode(),), minisign.read_secret),
    ]


def _plain(folder: Path) -> bytes:
    """A file of standard operators only."""
    import onnx.parser

    text = """<ir_version: 9, opset_import: ["" : 20]>
    g (float[1,3,8,8] x) => (float[1,3] y) <float[3] w = {1, 2, 3}> {
      m = GlobalAveragePool (x)
      f = Flatten (m)
      y = Mul (f, w)
    }"""
    return onnx.parser.parse_model(text).SerializeToString()


def _pictures() -> Iterator[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, kind)
        yield data.getvalue()


def _open(path: Path, bundle: Path) -> Bundle:
    """A manifest under a right seal: what is in it is believed, and must not lead outside."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        document = None
    if isinstance(document, dict):
        document["digest"] = content_digest(document)
        path.write_text(json.dumps(document), encoding="utf-8")
    opened = Bundle.open(path.parent, check=False)
    named = [entry.path for entry in opened.manifest.files]
    named += [entry.path for entry in (*opened.manifest.kernels, *opened.manifest.reference)]
    for name in named:
        assert (path.parent / name).resolve().is_relative_to(path.parent.resolve()), name
    return opened


def damaged(seed: bytes, rng: np.random.Generator) -> bytes:
    """One to four edits of bytes: changed, cut, repeated, put in, or of one text value."""
    data = bytearray(seed)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, max(1, len(data))))
        kind = int(rng.integers(0, 6))
        if kind == 0 and data:
            data[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1 and data:
            data[place] = int(rng.integers(0, 256))
        elif kind == 2:
            del data[place : place + int(rng.integers(1, 64))]
        elif kind == 3:
            data[place:place] = data[place : place + int(rng.integers(1, 64))]
        elif kind == 4:
            data[place:place] = WORDS[int(rng.integers(0, len(WORDS)))]
        else:
            del data[place:]
    return bytes(data)


def damaged_text(seed: bytes, rng: np.random.Generator) -> bytes:
    """Of a JSON document: one value replaced by one of another kind, or dropped."""
    document = json.loads(seed)
    holder, key = _somewhere(document, rng)
    values: list[object] = [
        None,
        -1,
        1e300,
        "../../etc/passwd",
        "/etc/passwd",
        [],
        {},
        True,
        "",
        2**63,
        "a/../b",
    ]
    if rng.random() < 0.2 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = values[int(rng.integers(0, len(values)))]
    return json.dumps(document).encode()


def _somewhere(document: object, rng: np.random.Generator) -> tuple[dict | list, object]:
    """A random place of a document: its container and key."""
    places: list[tuple[dict | list, object]] = []

    def walk(value: object) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
        for key, inner in items:
            places.append((value, key))  # type: ignore[arg-type]
            if isinstance(inner, (dict, list)):
                walk(inner)

    walk(document)
    return places[int(rng.integers(0, len(places)))]
