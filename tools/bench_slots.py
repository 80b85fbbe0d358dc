"""GLMix's shapes for `make bench-kernels`: pooling, slots and depthwise layers of three stages."""

from __future__ import annotations

from collections.abc import Iterator

from attnc.tools.bench_tokens import INFINITY, Call, up

#: name: (side of the map, channels) of each stage with slots
MODELS: dict[str, tuple[tuple[int, int], ...]] = {
    "slots_stl": ((56, 96), (28, 192), (14, 384)),
    "slots_4g": ((56, 64), (28, 128), (14, 256)),
}
GRID, SCALE = 8, 12.0
SLOTS = GRID * GRID


def pool(batch: int, size: int, c: int) -> Call:
    """To 8x8 tokens; the adds count as half multiply-adds."""
    pixels = batch * size * size
    pointers = (pixels * c, batch * SLOTS * c)
    integers = (batch, size, size, c, GRID, GRID)
    return "grid_pool", f"{size}x{size} {c}", pointers, integers, (), pixels * c // 2


def cluster(batch: int, size: int, c: int) -> Call:
    """Cosines and gathering."""
    tokens = size * size
    slots, logits = batch * SLOTS * c, batch * tokens * SLOTS
    pointers = (batch * tokens * c, slots, slots, logits)
    integers = (batch, batch, tokens, SLOTS, c)
    return "slot_cluster", f"{tokens} {c}", pointers, integers, (SCALE,), 2 * logits * c


def dispatch(batch: int, size: int, c: int) -> Call:
    """With a residual."""
    tokens = size * size
    rows, logits = batch * tokens * c, batch * tokens * SLOTS
    pointers = (logits, batch * SLOTS * c, rows, rows)
    return "slot_dispatch", f"{tokens} {c}", pointers, (batch, tokens, SLOTS, c), (), logits * c


def depthwise(batch: int, size: int, c: int, kernel: int, *, gelu: int = 0) -> Call:
    """Stride 1, the size kept."""
    x, pad = batch * size * size * c, kernel // 2
    integers = (batch, size, size, c, size, size, kernel, kernel, 1, 1, 1, 1, *[pad] * 4, gelu)
    label = f"{size}x{size} {c} k{kernel}{' gelu' if gelu else ''}"
    pointers = (x, kernel * kernel * up(c), up(c), x)
    reals = (-INFINITY, INFINITY)
    return "depthwise", label, pointers, integers, reals, kernel * kernel * x


def shapes_of(model: str, batch: int) -> Iterator[Call]:
    """The parts of a block of each stage that are no linear layers."""
    for size, c in MODELS[model]:
        yield pool(batch, size, c)
        yield cluster(batch, size, c)
        yield dispatch(batch, size, c)
        yield depthwise(batch, size, c, 3)
        yield depthwise(batch, size, c, 5)
        yield depthwise(batch, size, 3 * c, 3, gelu=1)
