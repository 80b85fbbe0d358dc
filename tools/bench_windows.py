"""MSA-Conv's shapes for `make bench-kernels`: the published layers, and the stages of tic_tiny.

A layer is a pointwise convolution to q, k and v, the attention over its window, and a convolution
of the same window; the last one at stride one both ways that the target may choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attnc.tools.bench_tokens import INFINITY, Call, up


@dataclass(frozen=True)
class Layer:
    """`kernel` of the attention's window and of the convolution after it."""

    size: int
    channels: int
    kernel: int
    dilation: int = 1
    shift: int = 0
    grid: int = 0


MODELS: dict[str, tuple[Layer, ...]] = {
    "tic_layers": (
        Layer(56, 64, 3),
        Layer(28, 96, 5, dilation=2),
        Layer(28, 128, 7),
        Layer(14, 256, 3),
    ),
    "tic_tiny": (
        Layer(56, 48, 3, grid=4),
        Layer(56, 48, 3, shift=14, grid=4),
        Layer(28, 96, 3, shift=7, grid=4),
        Layer(14, 192, 3, shift=4, grid=4),
        Layer(7, 384, 3, shift=2, grid=2),
    ),
}


def conv(layer: Layer, batch: int, kernel: int, n: int) -> Call:
    """At stride one, the map's size kept."""
    size, c, pad = layer.size, layer.channels, kernel // 2
    pixels = batch * size * size
    pointers = (pixels * c, kernel * kernel * c * up(n), up(n), 0, pixels * n)
    integers = (batch, size, size, c, size, size, n, kernel, kernel, 1, 1, 1, 1, *[pad] * 4, 0)
    macs = pixels * kernel * kernel * c * n
    label = f"{size}x{size} {c}->{n} k{kernel}"
    return "conv", label, pointers, integers, (-INFINITY, INFINITY), macs


def gelu(layer: Layer, batch: int) -> Call:
    """A block's pointwise convolution with GELU behind it."""
    kernel, label, pointers, integers, reals, macs = conv(layer, batch, 1, 2 * layer.channels)
    return kernel, f"{label} gelu", pointers, (*integers[:-1], 1), reals, macs


def turn(layer: Layer, batch: int) -> Call:
    """The map from channels-first to channels-last; no arithmetic, one element counts as one."""
    pixels, c = layer.size**2, layer.channels
    floats = batch * pixels * c
    return (
        "turn",
        f"{layer.size}x{layer.size} {c}",
        (floats, floats),
        (batch, c, pixels),
        (),
        floats,
    )


def tiles(layer: Layer, batch: int) -> Call:
    """The same in tiles of 4x4 outputs; counted are the products that it does."""
    size, c, k = layer.size, layer.channels, layer.kernel
    points, parts = (36, 1) if k == 3 else (49, -(-k // 4))
    _, label, pointers, integers, reals, _ = conv(layer, batch, k, c)
    weights = points * parts * parts * c * up(c)
    macs = batch * (-(-size // 4)) ** 2 * points * parts * parts * c * c
    return "conv_tiles", label, (pointers[0], weights, *pointers[2:]), integers, reals, macs


def attention(layer: Layer, batch: int) -> Call:
    """With a residual."""
    size, c, kernel = layer.size, layer.channels, layer.kernel
    pixels = batch * size * size
    places = kernel * kernel + layer.grid**2
    pointers = (3 * pixels * c, pixels * c, pixels * c)
    integers = (batch, size, size, c, kernel, kernel, layer.dilation, layer.dilation)
    integers += (layer.shift, layer.grid, layer.grid)
    label = f"{size}x{size} {c} k{kernel} d{layer.dilation} s{layer.shift} g{layer.grid}"
    return "window_attention", label, pointers, integers, (c**-0.5,), 2 * pixels * c * places


def shapes_of(model: str, batch: int) -> Iterator[Call]:
    """The parts of each layer."""
    for layer in MODELS[model]:
        yield conv(layer, batch, 1, 3 * layer.channels)
        yield attention(layer, batch)
        yield conv(layer, batch, layer.kernel, layer.channels)
        yield tiles(layer, batch)
        yield gelu(layer, batch)
        yield turn(layer, batch)
