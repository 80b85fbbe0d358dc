"""Reshapes, slices and rearrangements of MIL, against index arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import Array, Case, cases, check, integers, mb, numbers

draw = numbers(101)
whole = integers(102)

X = draw(2, 3, 5)
IMAGE = draw(2, 8, 4, 6)


def moved(shape: Sequence[int], source: Callable[..., tuple[Any, ...]]) -> Callable[[Array], Array]:
    """The tensor whose element at a place is the input's element at `source(*place)`."""

    def expected(x: Array) -> Array:
        result = np.zeros(shape, x.dtype)
        for place in np.ndindex(*shape):
            result[place] = x[source(*place)]
        return result

    return expected


def reshape(x: Array, shape: list[int], wanted: list[int], target: str = "iOS16") -> Case:
    """The same elements in the same order."""
    return Case(
        "reshape",
        lambda x: mb.reshape(x=x, shape=shape),
        lambda x: np.array(x.ravel().tolist()).reshape(wanted),
        (x,),
        target=target,
        label="_".join(map(str, shape)),
    )


def sliced(
    x: Array,
    begin: list[int],
    end: list[int],
    wanted: tuple[Any, ...],
    target: str = "iOS16",
    **options: Any,
) -> Case:
    """`wanted` holds for every dimension the list of indices kept, or one index."""

    def expected(x: Array) -> Array:
        result = x
        for axis, index in reversed(list(enumerate(wanted))):
            result = np.take(result, index, axis)
        return result

    return Case(
        "slice_by_index",
        lambda x: mb.slice_by_index(x=x, begin=begin, end=end, **options),
        expected,
        (x,),
        target=target,
        label="-".join(["_".join(map(str, [*begin, *end])), *options]),
    )


def transpose(x: Array, perm: list[int]) -> Case:
    """Output dimension i is input dimension perm[i]."""
    order = [p % x.ndim for p in perm]
    inverse = [order.index(axis) for axis in range(x.ndim)]
    expected = moved(
        [x.shape[axis] for axis in order], lambda *place: tuple(place[i] for i in inverse)
    )
    return Case(
        "transpose", lambda x: mb.transpose(x=x, perm=perm), expected, (x,), label=str(perm)
    )


SLICES = [
    sliced(X, [0, 1, 0], [2, 3, 5], ([0, 1], [1, 2], [0, 1, 2, 3, 4])),
    sliced(X, [0, -2, 1], [2, 3, -1], ([0, 1], [1, 2], [1, 2, 3])),
    sliced(X, [0, 0, 0], [2, 3, 5], ([0, 1], [0, 2], [0, 2, 4]), stride=[1, 2, 2]),
    sliced(
        X,
        [0, 2, 4],
        [2, 0, 0],
        ([0, 1], [2, 1], [4, 2, 0]),
        stride=[1, -1, -2],
        end_mask=[False, False, True],
    ),
    sliced(
        X,
        [1, 1, 1],
        [1, 2, 4],
        ([0, 1], [1], [1, 2, 3, 4]),
        begin_mask=[True, False, False],
        end_mask=[True, False, True],
    ),
    sliced(X, [1, 0, -1], [0, 3, 0], (1, [0, 1, 2], 4), squeeze_mask=[True, False, True]),
    sliced(X, [0, 0, 1], [2, 2, 9], ([0, 1], [0, 1], [1, 2, 3, 4]), target="iOS17"),
]

REARRANGED = [
    Case(
        "depth_to_space",
        lambda x: mb.depth_to_space(x=x, block_size=2),
        moved((2, 2, 8, 12), lambda n, c, h, w: (n, ((h % 2) * 2 + w % 2) * 2 + c, h // 2, w // 2)),
        (IMAGE,),
    ),
    Case(
        "space_to_depth",
        lambda x: mb.space_to_depth(x=x, block_size=2),
        moved((2, 32, 2, 3), lambda n, c, h, w: (n, c % 8, 2 * h + c // 16, 2 * w + c // 8 % 2)),
        (IMAGE,),
    ),
    Case(
        "pixel_shuffle",
        lambda x: mb.pixel_shuffle(x=x, upscale_factor=2),
        moved((2, 2, 8, 12), lambda n, c, h, w: (n, c * 4 + h % 2 * 2 + w % 2, h // 2, w // 2)),
        (IMAGE,),
    ),
    Case(
        "pixel_unshuffle",
        lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        moved((2, 32, 2, 3), lambda n, c, h, w: (n, c // 4, 2 * h + c // 2 % 2, 2 * w + c % 2)),
        (IMAGE,),
    ),
    Case(
        "space_to_batch",
        lambda x: mb.space_to_batch(x=x, block_shape=[2, 3], paddings=[[0, 0], [0, 0]]),
        moved((12, 8, 2, 2), lambda n, c, h, w: (n % 2, c, 2 * h + n // 6, 3 * w + n // 2 % 3)),
        (IMAGE,),
    ),
    Case(
        "space_to_batch",
        lambda x: mb.space_to_batch(x=x, block_shape=[2, 2], paddings=[[1, 1], [2, 0]]),
        lambda x: moved(
            (8, 8, 3, 4), lambda n, c, h, w: (n % 2, c, 2 * h + n // 4, 2 * w + n // 2 % 2)
        )(np.pad(x, [(0, 0), (0, 0), (1, 1), (2, 0)])),
        (IMAGE,),
        label="padded",
    ),
    Case(
        "batch_to_space",
        lambda x: mb.batch_to_space(x=x, block_shape=[2, 3], crops=[[1, 0], [0, 2]]),
        moved(
            (2, 2, 5, 10),
            lambda n, c, h, w: (((h + 1) % 2 * 3 + w % 3) * 2 + n, c, (h + 1) // 2, w // 3),
        ),
        (draw(12, 2, 3, 4),),
    ),
    Case(
        "reverse",
        lambda x: mb.reverse(x=x, axes=[1, -1]),
        moved((2, 3, 5), lambda a, b, c: (a, 2 - b, 4 - c)),
        (X,),
    ),
    Case(
        "reverse",
        lambda x: mb.reverse(x=x),
        moved((2, 3, 5), lambda a, b, c: (1 - a, 2 - b, 4 - c)),
        (X,),
        label="all",
    ),
    Case(
        "reverse_sequence",
        lambda x, n: mb.reverse_sequence(x=x, lengths=n, seq_axis=2, batch_axis=1),
        lambda x, n: moved((2, 3, 5), lambda a, b, c: (a, b, n[b] - 1 - c if c < n[b] else c))(x),
        (X, np.array([4, 0, 5], np.int32)),
    ),
    Case(
        "sliding_windows",
        lambda x: mb.sliding_windows(x=x, axis=-1, size=2, stride=2),
        moved((2, 3, 2, 2), lambda a, b, c, d: (a, b, 2 * c + d)),
        (X,),
    ),
    Case(
        "sliding_windows",
        lambda x: mb.sliding_windows(x=x, axis=1, size=2),
        moved((2, 2, 2, 5), lambda a, b, c, d: (a, b + c, d)),
        (X,),
    ),
    transpose(X, [2, 0, 1]),
    transpose(IMAGE, [0, -1, 1, -2]),
    transpose(whole(2, 3), [1, 0]),
]


def update(begin: list[int], end: list[int], size: tuple[int, ...], **options: Any) -> Case:
    """A slice of the input replaced by another tensor."""

    def expected(x: Array, new: Array) -> Array:
        stride = options.get("stride", [1, 1, 1])
        result = x.copy()
        for place in np.ndindex(*new.shape):
            goal = tuple(b + i * s for b, i, s in zip(begin, place, stride, strict=True))
            result[goal] = new[place]
        return result

    return Case(
        "slice_update",
        lambda x, new: mb.slice_update(x=x, update=new, begin=begin, end=end, **options),
        expected,
        (X, draw(*size)),
        target="iOS18",
    )


CASES = [
    *SLICES,
    *REARRANGED,
    reshape(X, [6, 5], [6, 5]),
    reshape(X, [-1, 3], [10, 3]),
    reshape(X, [0, -1, 5], [2, 3, 5]),
    reshape(X, [1, 0, -1, 0], [1, 2, 3, 5], "iOS17"),
    reshape(whole(2, 3), [3, 2], [3, 2], "iOS17"),
    Case(
        "reshape_like",
        lambda x, y, z: mb.reshape_like(
            x=x, ref_tensors=[y, z], begins=[0, 1], ends=[2, 0], end_masks=[False, True]
        ),
        lambda x, y, z: np.array(x.ravel().tolist()).reshape(2, 3, 5, 6),
        (draw(6, 30), draw(2, 3, 4), draw(1, 5, 6)),
    ),
    Case(
        "expand_dims",
        lambda x: mb.expand_dims(x=x, axes=[0, -1]),
        moved((1, 2, 3, 5, 1), lambda a, b, c, d, e: (b, c, d)),
        (X,),
    ),
    Case(
        "expand_dims",
        lambda x: mb.expand_dims(x=x, axes=[1, 3]),
        moved((2, 1, 3, 1, 5), lambda a, b, c, d, e: (a, c, e)),
        (X,),
        target="iOS17",
    ),
    Case(
        "squeeze",
        lambda x: mb.squeeze(x=x, axes=[0, -1]),
        moved((1, 3), lambda a, b: (0, a, b, 0)),
        (draw(1, 1, 3, 1),),
    ),
    Case(
        "squeeze",
        lambda x: mb.squeeze(x=x),
        moved((3, 2), lambda a, b: (0, a, 0, b)),
        (draw(1, 3, 1, 2),),
    ),
    Case(
        "slice_by_size",
        lambda x: mb.slice_by_size(x=x, begin=[0, 1, 2], size=[1, 2, -1]),
        moved((1, 2, 3), lambda a, b, c: (a, b + 1, c + 2)),
        (X,),
    ),
    Case(
        "crop",
        lambda x: mb.crop(x=x, crop_height=[1, 0], crop_width=[2, 1]),
        moved((2, 8, 3, 3), lambda a, b, c, d: (a, b, c + 1, d + 2)),
        (IMAGE,),
    ),
    update([0, 1, 0], [2, 3, 4], (2, 2, 4)),
    update([1, 0, 0], [2, 3, 5], (1, 2, 3), stride=[1, 2, 2]),
]


@cases(CASES)
def test_every_element_comes_from_its_place(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
