"""Multi-head attention read off a graph of tokens: which channels are whose head, in any layout.

    q, k: value -> (data movement) -> MatMul -> (scale) -> Softmax -> MatMul <- (movement) <- v
Like canonical/attention.py, which reads one head on a map; here rows are tokens, channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.passes.graph import Refuse, attribute, is_op, shape, sole_user
from attnc.passes.movement import MOVES, concrete_shape
from attnc.passes.views import View, trace

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """An operand [L, R, K]: matrix l holds all rows of image `image[l]`, channels `channels[l]`.

    `batch_first`: the rows of an image lie together in the source.
    """

    image: Ints
    channels: Ints
    batch_first: bool
    tokens: int
    batch: int


@dataclass(frozen=True)
class Part:
    """q, k or v: `channels` [heads, width] of a value whose last axis they are."""

    source: ir.Value
    channels: Ints
    batch_first: bool
    tokens: int

    def key(self) -> tuple[object, ...]:
        """What must not depend on the batch size."""
        return self.source, self.batch_first, self.channels.tobytes(), self.channels.shape


@dataclass(frozen=True)
class Scores:
    """The softmax of scale * q k^T: where q and k are, and whose element is where.

    `inner` are the nodes from the product to the softmax, `nodes` also what cuts out q and k.
    """

    inner: tuple[ir.Node, ...]
    q: Part
    k: Part
    scale: float
    nodes: tuple[ir.Node, ...]
    batches: tuple[int, ...]
    places: Callable[[int], Places]

    @property
    def heads(self) -> int:
        """Number of heads."""
        return len(self.q.channels)


@dataclass(frozen=True)
class Places:
    """For one batch size: image and head of each matrix of the first product, and its layout."""

    image: Ints
    head: Ints
    batch: int
    sizes: tuple[int, int, int]
    keys_first: bool
    order: Ints | None  # element of the softmax to element of the product; None: the same

    def of(self, flat: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """(image, head, query, key) of elements of the softmax."""
        flat = flat if self.order is None else self.order[flat]
        matrix, row, column = np.unravel_index(flat, self.sizes)
        query, key = (column, row) if self.keys_first else (row, column)
        return self.image[matrix], self.head[matrix], query, key

    @property
    def count(self) -> int:
        """Elements of the softmax, which may be of some queries only."""
        return int(np.prod(self.sizes)) if self.order is None else self.order.size

    @property
    def extent(self) -> tuple[int, int]:
        """(queries, keys)"""
        _, rows, columns = self.sizes
        return (columns, rows) if self.keys_first else (rows, columns)


def read_rows(view: View, batch: int, turned: bool, what: str) -> Rows:
    """The operand [.., R, K] (`turned`: [.., K, R]) as whole rows of tokens."""
    indices = view.indices(batch)
    indices = indices.swapaxes(-1, -2) if turned else indices
    indices = indices.reshape(-1, *indices.shape[-2:])
    sizes = concrete_shape(view.source, batch)
    if len(sizes) not in (2, 3):
        raise Refuse(f"{what} is cut from {len(sizes)}-dimensional {view.source.name!r}, no tokens")
    channels, rows = indices % sizes[-1], indices // sizes[-1]
    count, tokens = int(np.prod(sizes[:-1])), indices.shape[1]
    if (channels != channels[:, :1]).any() or (rows != rows[:, :, :1]).any():
        raise Refuse(f"{what} is not made of whole rows and channels of {view.source.name!r}")
    if count % tokens:
        raise Refuse(f"{what} has {tokens} rows, of {count} of all images in {view.source.name!r}")
    rows, batch = rows[:, :, 0], count // tokens
    by_image = np.arange(count).reshape(batch, tokens)
    for table, first in ((by_image, True), (np.arange(count).reshape(tokens, batch).T, False)):
        if len(sizes) == 3 and sizes[:2] != ((batch, tokens) if first else (tokens, batch)):
            continue  # with one image, or one token, the order alone tells nothing
        image = rows[:, 0] // tokens if first else rows[:, 0]
        if (image < batch).all() and np.array_equal(table[image], rows):
            return Rows(image, channels[:, 0], first, tokens, batch)
    raise Refuse(f"{what} does not keep the order of the tokens")


def numbered(image: Ints, batch: int) -> Ints:
    """The head of each matrix: its number among those of the same image."""
    head = np.zeros_like(image)
    for b in range(batch):
        head[image == b] = np.arange(np.count_nonzero(image == b))
    if len(image) % batch or (np.bincount(image, minlength=batch) != len(image) // batch).any():
        raise Refuse("images have different numbers of heads")
    return head


def by_head(rows: Rows, image: Ints, head: Ints, source: ir.Value, what: str) -> Part:
    """Channels [heads, width], the same for all images."""
    if not np.array_equal(rows.image, image):
        raise Refuse(f"{what} belongs to another image")
    channels = np.zeros((head.max() + 1, rows.channels.shape[1]), np.int64)
    channels[head] = rows.channels
    if not np.array_equal(channels[head], rows.channels):
        raise Refuse(f"the channels of {what} depend on the image")
    return Part(source, channels, rows.batch_first, rows.tokens)


def scores_at(softmax: ir.Node) -> Scores:
    """The scores that this Softmax normalises; refuses with the reason if they are no q k^T."""
    scores = softmax.inputs[0]
    assert scores is not None
    to_product = trace(scores, factors=True)
    product = to_product.source.producer()
    if product is None or not is_op(product, "MatMul"):
        what = product.op_type if product is not None else "an input of the graph"
        raise Refuse(f"its scores come from {what}, not from a scaled product")
    left, right = (trace(_value(v), factors=True) for v in product.inputs)
    batches = max(left.batches(), right.batches(), key=len)
    found = {b: _read(softmax, to_product, left, right, b) for b in batches}
    parts = [(q.key(), k.key()) for q, k, _ in found.values()]
    if any(part != parts[0] for part in parts):
        raise Refuse("the maps of q and k depend on the batch size")
    q, k, _ = found[batches[0]]
    inner = (product, *to_product.nodes, softmax)
    nodes = (*left.nodes, *right.nodes, *inner)
    scale = left.scale * right.scale * to_product.scale
    places = {b: place for b, (_, _, place) in found.items()}
    unique = tuple(dict.fromkeys(nodes))
    return Scores(inner, q, k, scale, unique, batches, places.__getitem__)


def _read(
    softmax: ir.Node, to_product: View, left: View, right: View, batch: int
) -> tuple[Part, Part, Places]:
    one = read_rows(left, batch, False, "the left factor")
    two = read_rows(right, batch, True, "the right factor")
    if len(one.image) != len(two.image) or one.batch != two.batch:
        raise Refuse("the factors have different numbers of heads, or of images")
    sizes = (len(one.image), one.tokens, two.tokens)
    order, keys_first = _orientation(softmax, to_product, sizes, batch)
    head = numbered(one.image, one.batch)
    first = by_head(one, one.image, head, left.source, "the left factor")
    second = by_head(two, one.image, head, right.source, "the right factor")
    q, k = (second, first) if keys_first else (first, second)
    return q, k, Places(one.image, head, one.batch, sizes, keys_first, order)


def _orientation(
    softmax: ir.Node, to_product: View, sizes: tuple[int, int, int], batch: int
) -> tuple[Ints | None, bool]:
    """How elements lie between product and softmax; whether the keys are the product's rows."""
    extent = shape(softmax.inputs[0])
    assert extent is not None
    axis = attribute(softmax, "axis", -1) % len(extent)
    if not any(is_op(node, *MOVES) for node in to_product.nodes):
        if axis < len(extent) - 2:
            raise Refuse(f"it runs over axis {axis}, not over one of the last two")
        return None, axis == len(extent) - 2
    order = to_product.indices(batch, int(np.prod(sizes)))
    line = np.moveaxis(order, axis, -1)
    _, rows, columns = np.unravel_index(line, sizes)
    for keys_first, still, count in ((False, rows, sizes[2]), (True, columns, sizes[1])):
        if line.shape[-1] == count and (still == still[..., :1]).all():
            return order.reshape(-1), keys_first
    raise Refuse("the softmax does not run over all keys of a query")


def _value(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value


@dataclass(frozen=True)
class Mixed:
    """The second product: v, its output, and for each of its elements the place in y.

    y is [B, M, heads * width], heads one after another.
    """

    v: Part
    out: ir.Value
    nodes: tuple[ir.Node, ...]
    order: Callable[[int], Ints]


def mixed_at(scores: Scores, product: ir.Node, weights: View) -> Mixed:
    """The product that mixes the values with the softmax, which `weights` is a view of."""
    position = 0 if product.inputs[0] is weights.value else 1
    values = trace(_value(product.inputs[1 - position]), factors=True)
    if values.scale != 1.0:
        raise Refuse("v is scaled", product)
    found = {b: _mix(scores, values, weights, position, b) for b in scores.batches}
    keys = [part.key() for part, _ in found.values()]
    if any(key != keys[0] for key in keys):
        raise Refuse("the map of v depends on the batch size")
    orders = {b: order for b, (_, order) in found.items()}
    nodes = (*weights.nodes, *values.nodes, product)
    first = found[scores.batches[0]][0]
    return Mixed(first, product.outputs[0], nodes, orders.__getitem__)


def _mix(
    scores: Scores, values: View, weights: View, position: int, batch: int
) -> tuple[Part, Ints]:
    places = scores.places(batch)
    queries, keys = places.extent
    image, head = _matrices(scores, weights, position, batch)
    rows = read_rows(values, batch, position == 1, "v")
    if (rows.tokens, rows.batch) != (keys, places.batch):
        raise Refuse("v has another number of tokens than k")
    v = by_head(rows, image, head, values.source, "v")
    heads, width = v.channels.shape
    base = (image[:, None] * queries + np.arange(queries)) * heads + head[:, None]
    order = base[:, :, None] * width + np.arange(width)
    return v, order.swapaxes(1, 2) if position == 1 else order


def _matrices(scores: Scores, weights: View, position: int, batch: int) -> tuple[Ints, Ints]:
    """Image and head of each matrix of the second product, which must sum over the keys."""
    places = scores.places(batch)
    queries, keys = places.extent
    if not weights.nodes and places.order is None:
        if places.keys_first != (position == 1):
            raise Refuse("the second product does not sum over the axis of the softmax")
        return places.image, places.head
    flat = weights.indices(batch, places.count)
    flat = flat.reshape(-1, *flat.shape[-2:])
    flat = flat.swapaxes(1, 2) if position == 1 else flat
    image, head, query, key = places.of(flat)
    ordered = flat.shape[1:] == (queries, keys) and (
        (query == np.arange(queries)[:, None]).all() and (key == np.arange(keys)).all()
    )
    if not ordered or (image != image[:, :1, :1]).any() or (head != head[:, :1, :1]).any():
        raise Refuse("the second product does not sum over the axis of the softmax")
    return image[:, 0, 0], head[:, 0, 0]


def second_product(softmax: ir.Node) -> tuple[ir.Node, View]:
    """The MatMul that the softmax flows into, and the softmax as its operand."""
    value = softmax.outputs[0]
    while True:
        user = sole_user(value)
        if user is None:
            names = sorted({f"{use.node.op_type} {use.node.name!r}" for use in value.uses()})
            readers = ", ".join(names) or "an output of the graph"
            raise Refuse(f"the attention weights are read by more than the values: {readers}")
        if is_op(user, "MatMul"):
            return user, trace(value, stops={softmax.outputs[0]})
        if not is_op(user, *MOVES) or len(user.outputs) != 1:
            raise Refuse(f"the attention weights go through {user.op_type}")
        value = user.outputs[0]
