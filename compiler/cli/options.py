"""How option texts become values, with one message for each way to get them wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from attnc.compiler.errors import UsageError

JsonOption = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the report as JSON; - is stdout."),
]

ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="KEY=VALUE", help="An argument of the model or factory; repeatable."
    ),
]


PrecisionOption = Annotated[
    str | None,
    typer.Option(
        help="fp32, fp16 or bf16; for coreml also int8w, pal8w, pal6w, pal4w, which store the "
        "weights so. The target's own without it (tensorrt, coreml: fp16)."
    ),
]

MetadataOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="author, license, version, description or your own, for coreml; repeatable.",
    ),
]


CheckpointOption = Annotated[
    Path | None,
    typer.Option(help="Weights, .pth or .safetensors; the model's own or seeded ones without it."),
]

FormatOption = Annotated[
    list[str] | None,
    typer.Option(
        help="For android and arm64, besides ONNX: tflite (LiteRT), pte (ExecuTorch); repeatable."
    ),
]


def parse_formats(texts: Sequence[str] | None) -> tuple[str, ...]:
    """`["tflite,pte"]` to names, each once."""
    found = [name for text in texts or () for name in parse_names(text, "--format")]
    return tuple(dict.fromkeys(found))


def parse_options(texts: Sequence[str] | None) -> dict[str, Any]:
    """`["keep=0.7", "fuse=true"]` to arguments; values that are no JSON are texts."""
    options: dict[str, Any] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier() or key in options:
            raise UsageError(
                f"--option {text!r} is not possible", remedy="KEY=VALUE, each key once"
            )
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def parse_metadata(texts: Sequence[str] | None) -> dict[str, str]:
    """`["author=A. Person"]` to texts by key."""
    found: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or key in found:
            raise UsageError(
                f"--metadata {text!r} is not possible", remedy="KEY=VALUE, each key once"
            )
        found[key.strip()] = value
    return found


def parse_image_size(text: str | None) -> tuple[int, int] | None:
    """`256` or `320x192` (height x width) to (height, width)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})(?:[xX](\d{1,5}))?", text.strip())
    if not match or not all(int(size) for size in match.groups() if size is not None):
        raise UsageError(
            f"--image-size {text!r} is not a size in pixels",
            remedy="one number (256) or HEIGHTxWIDTH (320x192); it is fixed in the bundle",
        )
    height = int(match[1])
    return height, int(match[2]) if match[2] else height


def parse_batch(text: str) -> int | Literal["dynamic"]:
    """`dynamic` or a positive number."""
    if text.strip().lower() == "dynamic":
        return "dynamic"
    return _positive(text, "--batch", "a number of pictures of at least 1, or `dynamic`")


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """`1,2,8` to distinct positive numbers, in the order given."""
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"{option} is empty", remedy="numbers separated by commas, as in 1,2")
    return tuple(dict.fromkeys(_positive(part, option, "numbers of at least 1") for part in parts))


def parse_rates(text: str, option: str) -> tuple[float, ...]:
    """`0.9,0.7` to distinct rates in (0, 1], in the order given."""
    rates = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        rate = float(part) if re.fullmatch(r"\d*\.?\d+", part) else 0.0
        if not 0 < rate <= 1:
            raise UsageError(
                f"{option} {part!r} is not in (0, 1]", remedy="keep rates, as in 0.9,0.7,0.5"
            )
        rates.append(rate)
    if not rates:
        raise UsageError(f"{option} is empty", remedy="keep rates, as in 0.9,0.7,0.5")
    return tuple(dict.fromkeys(rates))


def parse_names(text: str, option: str) -> tuple[str, ...]:
    """`ort,torch` to distinct names, in the order given."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise UsageError(f"{option} is empty", remedy="names separated by commas, as in ort,torch")
    return names


def _positive(text: str, option: str, wanted: str) -> int:
    clean = text.strip()
    if not re.fullmatch(r"\d{1,6}", clean) or int(clean) < 1:
        raise UsageError(f"{option} {clean!r} is not possible", remedy=wanted)
    return int(clean)
