"""MSA-Conv read off a graph: where it begins and ends, and which window its pixels attend to.

    qkv -> (slices, Pad, Gather, ...) -> products with q -> Softmax -> products with v -> out
Anchored at the Softmax. The window comes from probing (see passes/probe.py): with keys that are
the numbers of their pixels the scores say who sees whom, however the author wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.window_attention import reference
from attnc.passes.graph import Array, Refuse, attribute, is_op, require_private
from attnc.passes.movement import MOVES, concrete_shape
from attnc.passes.probe import Probe, can_run, operands
from attnc.passes.views import PROBES

PRODUCTS = ("Mul", "MatMul", "Einsum")
LIMIT = 1e-6  # relative; constants of the graph are float32


@dataclass(frozen=True)
class Window:
    """Whom a pixel attends to; `grid` is (0, 0) without pooled keys."""

    kernel: tuple[int, int]
    dilations: tuple[int, int]
    shift: int
    grid: tuple[int, int]
    scale: float

    def attributes(self) -> dict[str, Any]:
        """Those of the operator."""
        found: dict[str, Any] = {
            "kernel_shape": self.kernel,
            "dilations": self.dilations,
            "shift": self.shift,
            "scale": self.scale,
        }
        return {**found, "grid": self.grid} if self.grid != (0, 0) else found


@dataclass(frozen=True)
class Site:
    """The attention around a Softmax. `sources` is one map of q, k, v, or one map for each;
    their channels lie along `axis`. `out` is the finished sum."""

    softmax: ir.Node
    sources: tuple[ir.Value, ...]
    axis: int
    out: ir.Value

    def batches(self) -> tuple[int, ...]:
        """The batch size, or two to try where it is symbolic."""
        sizes = self.sources[0].shape
        fixed = sizes[0] if sizes is not None else None
        return (fixed,) if isinstance(fixed, int) else PROBES

    def sizes(self, batch: int) -> tuple[int, int, int, int]:
        """Batch, height, width and channels of q."""
        b, *rest = concrete_shape(self.sources[0], batch)
        channels = rest.pop(self.axis - 1) * len(self.sources) // 3
        return (b, rest[0], rest[1], channels)

    def feed(self, qkv: Array) -> dict[ir.Value, Array]:
        """Channels-last numbers [B,H,W,3C] for the sources."""
        whole = np.moveaxis(qkv, 3, self.axis)
        parts = np.split(whole, len(self.sources), self.axis)
        return dict(zip(self.sources, parts, strict=True))

    def scores(self, qkv: Array) -> Array:
        """[B, pixels, places]: what goes into the softmax."""
        logits = self.softmax.inputs[0]
        assert logits is not None
        found = Probe(self.feed(qkv), qkv.shape[0]).run(logits)
        rows = np.moveaxis(found, attribute(self.softmax, "axis", -1), -1)
        pixels = qkv.shape[1] * qkv.shape[2]
        if rows.size != rows.shape[-1] * pixels * qkv.shape[0]:
            raise Refuse("it has not one row of scores per pixel", self.softmax)
        return rows.reshape(qkv.shape[0], pixels, -1)

    def nodes(self) -> list[ir.Node]:
        """All between the sources and `out`, in order."""
        blank = {source: np.zeros(()) for source in self.sources}
        return Probe(blank, 1).needed(self.out)


def sources_of(softmax: ir.Node) -> tuple[list[ir.Value], bool]:
    """The nearest value through which all of the scores flow, or several that are computed
    otherwise; and whether there is padding on the way."""
    graph, logits = softmax.graph, softmax.inputs[0]
    assert graph is not None
    assert logits is not None
    place = {node: index for index, node in enumerate(graph)}
    waiting, leaves, padded, split = {logits: None}, dict[ir.Value, None](), False, False
    while waiting and not (split and len(waiting) == 1 and not leaves):
        value = max(waiting, key=lambda v: place.get(v.producer(), -1))  # type: ignore[arg-type]
        del waiting[value]
        node = value.producer()
        if node is None or not can_run(node):
            leaves[value] = None
            continue
        padded |= is_op(node, "Pad")
        split |= is_op(node, *PRODUCTS) and len(operands(node)) > 1
        waiting.update(dict.fromkeys(operands(node)))
    return [*leaves, *waiting], padded


def out_of(softmax: ir.Node, count: int, batch: int) -> ir.Value:
    """The first value of `count` elements that everything from the weights flows into."""
    graph, product = softmax.graph, False
    assert graph is not None
    reads = {softmax.outputs[0]: len(softmax.outputs[0].uses())}
    for node in graph:
        taken = [value for value in node.inputs if value in reads]
        if not taken:
            continue
        if not can_run(node):
            raise Refuse(f"the attention weights flow into {node.op_type}", node)
        product |= is_op(node, *PRODUCTS)
        for value in taken:
            assert value is not None
            reads[value] -= 1
        for value in node.outputs:
            if value.is_graph_output():
                raise Refuse("the attention weights do not come together before an output", node)
            reads[value] = len(value.uses())
        still = [value for value, left in reads.items() if left]
        whole = product and still == [node.outputs[0]]
        if whole and np.prod(concrete_shape(still[0], batch)) == count:
            return _moved(still[0], count, batch)
    raise Refuse("the attention weights do not come together in one map", softmax)


def _moved(value: ir.Value, count: int, batch: int) -> ir.Value:
    """The value after the data movement that follows it."""
    while len(value.uses()) == 1 and not value.is_graph_output():
        (use,) = value.uses()
        node = use.node
        if not is_op(node, *MOVES) or len(operands(node)) != 1 or len(node.outputs) != 1:
            break
        if np.prod(concrete_shape(node.outputs[0], batch)) != count:
            break
        value = node.outputs[0]
    return value


def sites_at(softmax: ir.Node) -> Iterator[Site]:
    """The readings to try: layouts of one map, or orders of three."""
    found, padded = sources_of(softmax)
    if not padded or not 1 <= len(found) <= 2:
        return
    shapes = [source.shape for source in found]
    if any(shape is None or len(shape) != 4 for shape in shapes):
        return
    first = found[0]
    batch = first.shape[0] if first.shape and isinstance(first.shape[0], int) else PROBES[0]
    sizes = concrete_shape(first, batch)
    if len(found) == 1:
        for axis in (1, 3):
            if sizes[axis] % 3 == 0:
                out = out_of(softmax, int(np.prod(sizes)) // 3, batch)
                yield Site(softmax, (first,), axis, out)
        return
    out = out_of(softmax, int(np.prod(sizes)), batch)
    for value in _values(out, [*found, softmax.outputs[0]]):
        if value.shape == first.shape:
            yield Site(softmax, (found[0], found[1], value), 1, out)
            yield Site(softmax, (found[1], found[0], value), 1, out)


def _values(out: ir.Value, stops: Sequence[ir.Value]) -> list[ir.Value]:
    """What `out` is computed from beyond `stops`."""
    waiting, seen, leaves = [out], set(stops), []
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        node = value.producer()
        if node is None or not can_run(node):
            leaves.append(value)
        else:
            waiting.extend(operands(node))
    return leaves


def check_private(site: Site) -> None:
    """Refuse if the scores or the weights are read elsewhere: they would be computed twice."""
    inside, computed = [], set(site.softmax.outputs)
    for node in site.nodes():
        taken = operands(node)
        product = is_op(node, *PRODUCTS) and len(taken) > 1
        if product or any(value in computed for value in taken):
            computed.update(node.outputs)
            inside.append(node)
    require_private(inside, [site.out])


def _numbered(site: Site, batch: int, channel: int) -> Array:
    """[pixels, places] of image 0: for each place the number of the pixel there times the scale,
    0 outside; for one channel of the keys."""
    b, height, width, channels = site.sizes(batch)
    qkv = np.zeros((b, height, width, 3 * channels))
    qkv[..., channel] = 1.0
    qkv[..., channels + channel] = 1.0 + np.arange(height * width).reshape(height, width)
    return np.asarray(site.scores(qkv)[0])


def _pixels(numbers: Array, width: int) -> tuple[Array, Array]:
    found = np.rint(numbers).astype(int) - 1
    return found // width, found % width


def windows_of(site: Site) -> Iterator[Window]:
    """The windows that fit what each pixel sees; more than one only on maps of a few pixels."""
    batch = site.batches()[0]
    _, height, width, channels = site.sizes(batch)
    seen = _numbered(site, batch, 0)
    if not (seen > 0).any():
        raise Refuse("its scores are no products of q with the keys around it", site.softmax)
    scale = float(seen[seen > 0].min())
    seen = seen / scale
    alike = np.isclose(seen, seen[:1]).all(0) & (seen[0] > 0)
    if height * width == 1:
        alike[np.argmax(alike)] = False
    near, cells = seen[:, ~alike], int(alike.sum())
    _check_places(near, site)
    middle = near[:, (near > 0.5).all(0)]
    if middle.shape[1] != 1:
        raise Refuse("no place of its window is the pixel itself", site.softmax)
    groups = [channels // 4 + (g < channels % 4) for g in range(4)]
    down, across = _pixels(middle[:, 0], width)[0][0], 0
    if groups[2]:
        other = _numbered(site, batch, groups[0] + groups[1])[:, ~alike] / scale
        across = int(_pixels(other[:, (other > 0.5).all(0)][:1, 0], width)[1][0])
    shift = _shift(int(down), across, height, width, bool(groups[2]))
    for kernel, dilations in _kernels(near, shift, height, width):
        for grid in _factors(cells) if cells else [(0, 0)]:
            yield Window(kernel, dilations, shift, grid, scale)


def _check_places(near: Array, site: Site) -> None:
    if not np.allclose(near, np.rint(near)):
        raise Refuse("something besides one product each is in its scores", site.softmax)
    if near.shape[1] % 2 == 0:
        raise Refuse(f"its window of {near.shape[1]} places has no middle", site.softmax)


def _shift(down: int, across: int, height: int, width: int, both: bool) -> int:
    for shift in range(height * width):
        if shift % height == down and (not both or shift % width == across):
            return shift
    raise Refuse("its keys are not rolled by one number of pixels")


def _factors(count: int) -> list[tuple[int, int]]:
    """Pairs of this product, the squarest first."""
    pairs = [(n, count // n) for n in range(1, count + 1) if count % n == 0]
    return sorted(pairs, key=lambda pair: abs(pair[0] - pair[1]))


def _kernels(
    near: Array, shift: int, height: int, width: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Odd kernels and their dilations; a step that leads off the map counts as the map's size."""
    rows, columns = set(), set()
    for place in near.T:
        inside = np.flatnonzero(place > 0.5)[:1]
        if inside.size:
            y, x = _pixels(place[inside], width)
            rows.add(int((y[0] - shift) % height - inside[0] // width))
            columns.add(int(x[0] - inside[0] % width))
    step = tuple(
        min((abs(n) for n in found if n), default=size)
        for found, size in ((rows, height), (columns, width))
    )
    for kernel in _factors(near.shape[1]):
        reach = [s * (k - 1) // 2 for k, s in zip(kernel, step, strict=True)]
        if reach[0] >= max(map(abs, rows)) and reach[1] >= max(map(abs, columns)):
            yield kernel, (step[0], step[1])


def agrees(site: Site, window: Window) -> str:
    """How the result lies, "nchw" or "nhwc", if it is this attention of random numbers; else ""."""
    rng, layouts = np.random.default_rng(0), {"nchw", "nhwc"}
    for batch in site.batches():
        b, height, width, channels = site.sizes(batch)
        qkv = rng.standard_normal((b, height, width, 3 * channels))
        got = Probe(site.feed(qkv), batch).run(site.out)
        want = reference(qkv, **window.attributes())
        for name, array in (("nhwc", want), ("nchw", want.transpose(0, 3, 1, 2))):
            error = np.abs(got.reshape(-1) - array.reshape(-1)).max()
            if not error <= LIMIT * np.abs(want).max():
                layouts.discard(name)
    return next(iter(sorted(layouts)), "")
