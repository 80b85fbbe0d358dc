"""Normalisations of MIL in double precision, by their definitions."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import Array, Case, cases, check, mb, numbers

draw = numbers(41)

GAMMA, BETA = draw(3, low=0.5, high=2), draw(3)


def by_channel(values: Array, rank: int) -> Array:
    """A vector laid along the second of `rank` dimensions."""
    return values.astype(np.float64).reshape(1, -1, *[1] * (rank - 2))


def batch_norm(x: Array, epsilon: float | None = None, *, plain: bool = False) -> Case:
    """Statistics are constants of the operation."""
    mean, variance = draw(x.shape[1]), draw(x.shape[1], low=0.2, high=3)
    gamma, beta = draw(x.shape[1]), draw(x.shape[1])
    given: dict[str, Any] = {} if plain else {"gamma": gamma, "beta": beta}
    if epsilon is not None:
        given["epsilon"] = epsilon

    def expected(x: Array) -> Array:
        spread = np.sqrt(by_channel(variance, x.ndim) + (1e-5 if epsilon is None else epsilon))
        normal = (x - by_channel(mean, x.ndim)) / spread
        if plain:
            return normal
        return normal * by_channel(gamma, x.ndim) + by_channel(beta, x.ndim)

    return Case(
        "batch_norm",
        lambda x: mb.batch_norm(x=x, mean=mean, variance=variance, **given),
        expected,
        (x,),
        label="plain" if plain else f"epsilon{epsilon}",
    )


def instance_norm(x: Array, epsilon: float, *, plain: bool = False) -> Case:
    """Statistics of every image and channel."""
    given: dict[str, Any] = {} if plain else {"gamma": GAMMA, "beta": BETA}

    def expected(x: Array) -> Array:
        result = np.zeros(x.shape)
        for n, c in itertools.product(*map(range, x.shape[:2])):
            mean = x[n, c].sum() / x[n, c].size
            variance = ((x[n, c] - mean) ** 2).sum() / x[n, c].size
            normal = (x[n, c] - mean) / (variance + epsilon) ** 0.5
            result[n, c] = normal if plain else normal * GAMMA[c] + BETA[c]
        return result

    return Case(
        "instance_norm",
        lambda x: mb.instance_norm(x=x, epsilon=epsilon, **given),
        expected,
        (x,),
        label="plain" if plain else "affine",
        tolerance=1e-5,
    )


def layer_norm(x: Array, axes: list[int], epsilon: float, *, plain: bool = False) -> Case:
    """Statistics over `axes`, scaled by arrays of exactly those dimensions."""
    over = tuple(sorted(a % x.ndim for a in axes))
    shape = [x.shape[a] for a in over]
    gamma, beta = draw(*shape), draw(*shape)
    given: dict[str, Any] = {} if plain else {"gamma": gamma, "beta": beta}

    def expected(x: Array) -> Array:
        wide = [n if a in over else 1 for a, n in enumerate(x.shape)]
        mean = x.mean(over, keepdims=True)
        variance = (x * x).mean(over, keepdims=True) - mean * mean
        normal = (x - mean) / np.sqrt(variance + epsilon)
        return normal if plain else normal * gamma.reshape(wide) + beta.reshape(wide)

    return Case(
        "layer_norm",
        lambda x: mb.layer_norm(x=x, axes=axes, epsilon=epsilon, **given),
        expected,
        (x,),
        label=f"{'plain' if plain else 'affine'}-{axes}",
        tolerance=1e-5,
    )


def l2_norm(x: Array, epsilon: float) -> Case:
    """The last three dimensions have length one."""

    def expected(x: Array) -> Array:
        result = np.zeros(x.shape)
        for index in np.ndindex(*x.shape[:-3]):
            result[index] = x[index] / (np.sum(x[index] ** 2) + epsilon) ** 0.5
        return result

    return Case("l2_norm", lambda x: mb.l2_norm(x=x, epsilon=epsilon), expected, (x,))


def local_response_norm(x: Array, size: int, **options: float) -> Case:
    """Every channel is divided by the energy of `size` channels around it."""
    alpha, beta, k = (options.get(n, d) for n, d in (("alpha", 1e-4), ("beta", 0.75), ("k", 1.0)))

    def expected(x: Array) -> Array:
        result = np.zeros(x.shape)
        for c in range(x.shape[1]):
            near = range(max(c - size // 2, 0), min(c + (size - 1) // 2 + 1, x.shape[1]))
            energy = sum(x[:, j] ** 2 for j in near)
            result[:, c] = x[:, c] / (k + alpha / size * energy) ** beta
        return result

    return Case(
        "local_response_norm",
        lambda x: mb.local_response_norm(x=x, size=size, **options),
        expected,
        (x,),
        label=f"size{size}",
    )


CASES = [
    batch_norm(draw(2, 3, 4, 5)),
    batch_norm(draw(2, 3, 7), 0.01),
    batch_norm(draw(1, 3, 2, 3, 4), 1e-3),
    batch_norm(draw(2, 3, 4, 5), plain=True),
    instance_norm(draw(2, 3, 4, 5), 1e-5),
    instance_norm(draw(2, 3, 7), 0.1),
    instance_norm(draw(2, 3, 4, 5), 1e-3, plain=True),
    layer_norm(draw(2, 3, 5), [-1], 1e-5),
    layer_norm(draw(2, 3, 4, 5), [2, 3], 0.01),
    layer_norm(draw(2, 3, 4), [0, 1, 2], 1e-5, plain=True),
    layer_norm(draw(2, 3, 4), [-2, -1], 1e-3, plain=True),
    l2_norm(draw(3, 4, 5), 1e-6),
    l2_norm(draw(2, 2, 3, 4, 1), 0.5),
    local_response_norm(draw(2, 7, 3, 2), 3, alpha=0.5, beta=0.6, k=1.5),
    local_response_norm(draw(1, 6, 5), 5, alpha=0.3),
    local_response_norm(draw(1, 6, 5), 3),
]


@cases(CASES)
def test_normalised_values_follow_the_definition(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
