"""Token pruning: which tokens are active, read off the masks that an attention meets.

q, k and v of inactive tokens are zeroed, those of the predictor again, and their scores hidden.
All these masks must say the same of every token; that they do is checked on their literals.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from attnc.passes.graph import Refuse, const, constant, is_op, new_node, shape
from attnc.passes.movement import concrete_shape
from attnc.passes.sparse.fills import fill_of
from attnc.passes.sparse.heads import Heads, Tokens, heads_of
from attnc.passes.sparse.literals import TRUE, Array, Literals, negated
from attnc.passes.views import View, trace

UNKNOWN = -1  # no literal is negative before it is negated, and negated ones are below -1


@dataclass(frozen=True)
class Masking:
    """A node that zeroes what a mask does not mark (or marks, if `inverted`)."""

    data: ir.Value
    mask: ir.Value
    inverted: bool


def masking_of(node: ir.Node) -> Masking | None:
    """Mul(x, mask), Where(mask, x, 0) or Where(mask, 0, x), without broadcasting x."""
    pairs: list[Masking] = []
    if is_op(node, "Mul"):
        one, other = node.inputs
        pairs = [Masking(d, m, False) for d, m in ((one, other), (other, one)) if d and m]
    elif is_op(node, "Where"):
        mask, *sides = node.inputs
        for data, other, inverted in ((sides[0], sides[1], False), (sides[1], sides[0], True)):
            if fill_of(other) == 0 and data is not None and mask is not None:
                pairs.append(Masking(data, mask, inverted))
    for found in pairs:
        if const(found.mask) is None and shape(found.data) == shape(node.outputs[0]):
            try:
                Literals(2).of(found.mask)
            except Refuse:
                continue
            return found
    return None


@dataclass
class ActiveTokens:
    """What the masks of one attention say; `covered` names the values that are masked or not."""

    covered: dict[str, bool] = field(default_factory=dict)
    nodes: list[ir.Node] = field(default_factory=list)
    _literals: dict[int, Literals] = field(default_factory=dict)
    _truth: dict[int, Array] = field(default_factory=dict)

    def trace(self, value: ir.Value | None) -> View:
        """The value as a view, through factors and masks."""
        assert value is not None
        return trace(value, factors=True, through=_data_of)

    def heads(self, value: ir.Value | None, what: str, *, transposed: bool = False) -> Heads:
        """The value as heads of a packed one, whose masks mark whole tokens."""
        view = self.trace(value)
        found = heads_of(view, what, transposed=transposed)
        length = (shape(found.source) or [None, None])[1]
        assert length is not None
        self.cover(view, np.arange(length), what)
        return found

    def cover(self, view: View, tokens: Tokens, what: str) -> None:
        """Notes the masks on the way to a view; rows of its source are `tokens`, again and again.

        A source of B x H x M rows has `tokens` of length M.
        """
        masks = [(node, found) for node in view.nodes if (found := masking_of(node))]
        self.covered[what] = bool(masks)
        if masks and any(is_op(node, "Concat") for node in view.nodes):
            raise Refuse(f"parts of {what} are masked before they are joined", masks[0][0])
        for node, found in masks:
            for batch in view.batches():
                index = replace(view, value=found.data).indices(batch)
                rows = index // concrete_shape(view.source, batch)[-1]
                per_image = int(np.prod(concrete_shape(view.source, batch)[1:-1]))
                numbers = tokens[rows % len(tokens)]
                self._expect(batch, rows // per_image, numbers, found.mask, found.inverted, node)

    def rows(self, value: ir.Value, tokens: Tokens, start: int, inverted: bool) -> None:
        """A mask over queries: rows `start` on of `value` are these tokens."""
        node = value.producer()
        if not self._literals:
            raise Refuse("the choice of keys is joined with another mask", node)
        for batch in self._literals:
            sizes = concrete_shape(value, batch)
            mask = self._literals[batch].of(value)
            if len(sizes) < 2 or sizes[-1] != 1:
                raise Refuse("the choice of keys is joined with a mask of single keys", node)
            if sizes[-2] != 1:
                mask = mask[..., start : start + len(tokens), :]
            image = np.arange(batch).reshape(-1, *[1] * (mask.ndim - 1))
            self._compare(batch, image, tokens[:, None], mask, inverted, node)

    def columns(self, node: ir.Node) -> ir.Value:
        """The scores inside Where(mask, scores, -inf), which hides inactive keys."""
        for place, other in ((1, 2), (2, 1)):
            number, inner = fill_of(node.inputs[other]), node.inputs[place]
            if number is not None and number < -1e30 and inner is not None:
                break
        else:
            raise Refuse("the scores are chosen from, and what else there is is not -inf", node)
        mask, sizes = node.inputs[0], shape(inner)
        if sizes is None or sizes != shape(node.outputs[0]) or mask is None:
            raise Refuse("the mask of the scores has more axes than they have", node)
        for batch in self.batches():
            full = concrete_shape(inner, batch)
            image = np.arange(batch).reshape(-1, *[1] * (len(full) - 1))
            self._expect(batch, image, np.arange(full[-1]), mask, place == 2, node)
        self.covered["the scores"] = True
        self.nodes.append(node)
        return inner

    def batches(self) -> tuple[int, ...]:
        """Batch sizes that are looked at; refuses where q, k and v are not masked."""
        if not self._truth:
            raise Refuse("inactive tokens are hidden in the scores, but not zeroed in q, k and v")
        return tuple(self._truth)

    def settle(self) -> bool:
        """Whether tokens are pruned; refuses where they are in some places only."""
        open_places = [what for what, masked in self.covered.items() if not masked]
        masked = [what for what, found in self.covered.items() if found]
        if masked and "the scores" not in masked:
            open_places.append("the scores")
        if masked and open_places:
            raise Refuse(
                f"inactive tokens are left out of {masked[0]}, but not of {', '.join(open_places)}"
            )
        if any((truth == UNKNOWN).any() for truth in self._truth.values()):
            raise Refuse("some tokens are masked, of others nothing is known")
        return bool(masked)

    def least(self) -> int | None:
        """How many tokens of each image are active; None where that depends on the picture."""
        counts = {
            self._literals[batch].count(image)
            for batch, truth in self._truth.items()
            for image in truth
        }
        return counts.pop() if len(counts) == 1 else None

    def has_first(self) -> bool:
        """Whether the first token is always active."""
        return all((truth[:, 0] == TRUE).all() for truth in self._truth.values())

    def value(self, graph: ir.Graph) -> tuple[ir.Value, list[ir.Node]]:
        """Ones and zeros [B, N], and the nodes that make them from what is in the graph."""
        held = [value for value in next(iter(self._literals.values())).known if self._holds(value)]
        if not held:
            raise Refuse("no value of the graph says of all tokens whether they are active")
        found, nodes = held[0], list[ir.Node]()
        batch, truth = next(iter(self._truth.items()))
        if len(shape(found) or []) != 2:
            sizes = constant(graph, np.array([-1, truth.shape[1]], np.int64), "active_shape")
            first = batch if len(self._truth) == 1 else (found.shape or [None])[0]
            flat = new_node("Reshape", [found, sizes], like=found, sizes=[first, truth.shape[1]])
            nodes, found = [flat], flat.outputs[0]
        if found.dtype != ir.DataType.FLOAT:
            cast = new_node("Cast", [found], {"to": ir.DataType.FLOAT}, like=found)
            cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            nodes, found = [*nodes, cast], cast.outputs[0]
        return found, nodes

    def _holds(self, value: ir.Value) -> bool:
        if const(value) is not None:
            return False
        for batch, truth in self._truth.items():
            literals = self._literals[batch].known.get(value)
            if literals is None or literals.size != truth.size or literals.ndim < 2:
                return False
            if not np.array_equal(literals.reshape(truth.shape), truth):
                return False
        return True

    def _expect(
        self,
        batch: int,
        image: Array,
        tokens: Array,
        mask: ir.Value,
        inverted: bool,
        node: ir.Node,
    ) -> None:
        if batch not in self._literals:
            self._literals[batch] = Literals(batch)
        literals = self._literals[batch].of(mask)
        if batch not in self._truth:
            self._truth[batch] = np.full((batch, int(tokens.max()) + 1), UNKNOWN, np.int64)
        self._compare(batch, image, tokens, literals, inverted, node)

    def _compare(
        self,
        batch: int,
        image: Array,
        tokens: Array,
        literals: Array,
        inverted: bool,
        node: ir.Node | None,
    ) -> None:
        """These literals are those of these tokens, as far as they are known already."""
        truth = self._truth[batch]
        literals = negated(literals) if inverted else literals
        image, tokens, literals = np.broadcast_arrays(image, tokens, literals)
        fresh = truth[image, tokens] == UNKNOWN
        truth[image[fresh], tokens[fresh]] = literals[fresh]
        if not np.array_equal(truth[image, tokens], literals):
            raise Refuse("the masks of inactive tokens differ", node)


def _data_of(node: ir.Node) -> ir.Value | None:
    found = masking_of(node)
    return found.data if found is not None else None
