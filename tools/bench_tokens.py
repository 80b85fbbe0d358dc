"""The token-wise layers' shapes for `make bench-kernels`: vision transformers of three widths at
the row counts that token selection leaves, and the four stages of a pyramid of them.
"""

from __future__ import annotations

from collections.abc import Iterator

INFINITY = float("inf")
#: name: (rows, channels)
MODELS: dict[str, tuple[tuple[int, int], ...]] = {
    "tokens_tiny": ((1, 192), (99, 192), (197, 192)),
    "tokens_small": ((1, 384), (26, 384), (70, 384), (139, 384), (197, 384), (577, 384)),
    "tokens_base": ((1, 768), (197, 768), (577, 768)),
    "tokens_pyramid": ((3136, 64), (784, 128), (196, 256), (49, 512), (49, 768)),
}

#: kernel, label, floats of each pointer, integers, reals, multiply-adds
Call = tuple[str, str, tuple[int, ...], tuple[int, ...], tuple[float, ...], int]


def up(n: int) -> int:
    """n rounded up to whole panels."""
    return (n + 15) // 16 * 16


def linear(name: str, rows: int, k: int, n: int, *, norm: int = 0, gelu: int = 0) -> Call:
    """One layer; a plain one has a residual."""
    residual = 0 if norm or gelu else rows * n
    pointers = (rows * k, k * up(n), up(n), residual, rows * n)
    reals = (1e-6, -INFINITY, INFINITY)
    return (
        "linear",
        f"{rows}: {k}->{n} {name}",
        pointers,
        (rows, k, n, norm, gelu),
        reals,
        (rows * k * n),
    )


def mlp(rows: int, c: int, hidden: int) -> Call:
    """The feed-forward block."""
    pointers = (rows * c, c * up(hidden), up(hidden), hidden * up(c), up(c), rows * c)
    label = f"{rows}: {c}-{hidden}"
    return "mlp", label, pointers, (rows, c, hidden), (1e-6,), 2 * rows * c * hidden


def shapes_of(model: str, batch: int) -> Iterator[Call]:
    """The layers of one block at each row count."""
    for rows, c in MODELS[model]:
        m = batch * rows
        yield linear("norm", m, c, 3 * c, norm=1)
        yield linear("add", m, c, c)
        yield linear("gelu", m, c, 4 * c, gelu=1)
        yield linear("add", m, 4 * c, c)
        yield mlp(m, c, 4 * c)
