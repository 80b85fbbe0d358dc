"""Which tokens a bundle keeps, against its source: agreement, how near the cut, and what if forced.

A kept token that the source dropped is a wrong kernel, or two scores closer than rounding. The
scores at the cut tell which; and with the source's selection put into the bundle's graph, what is
left of the error is the kernels' own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.ops.registry import attach_functions
from attnc.runtimes.onnx_session import infer, open_session, session_options
from attnc.runtimes.proof.float64 import compute64
from attnc.runtimes.proof.nodes import observe
from attnc.runtimes.proof.tokens import Tokens

Array = NDArray[Any]
#: Two scores of float32 that differ by less than this share are a tie.
NEAR = 1e-4
SELECTS = "SelectTokens"


@dataclass(frozen=True)
class Ranking:
    """One selection of the source: `scores` [B, N] of all tokens, the places that were kept."""

    scores: Array
    kept: Array


@dataclass(frozen=True)
class StageAgreement:
    """One stage: Jaccard index of the kept tokens (worst picture of the batch), the lead of the
    last kept over the first dropped score and how far at most a flipped token's score is from the
    cut, both as shares of the cut; `gap` is None where nothing flipped."""

    stage: int
    kept: int
    jaccard: float
    margin: float
    flipped: int
    gap: float | None

    @property
    def near(self) -> bool:
        """Whether rounding explains every flip."""
        return self.gap is None or self.gap <= NEAR

    def as_json(self) -> dict[str, Any]:
        """The entry of the report."""
        return {**asdict(self), "near_tie": self.near}


def rankings_of(source: ir.Model, feeds: Mapping[str, Array]) -> list[Ranking]:
    """The selections of the traced graph in float64, in order: its TopKs over [B, N] scores."""
    found: list[Ranking] = []

    def watch(node: ir.Node, given: Sequence[Array | None], made: Sequence[Array]) -> None:
        scores = given[0] if given else None
        if node.op_type == "TopK" and scores is not None and scores.ndim == 2:
            found.append(Ranking(scores, made[1]))

    compute64(source, feeds, watch)
    return found


def kept_by(bundle: ir.Model, library: Path | None, feeds: Mapping[str, Array]) -> list[Array]:
    """The places [B, K] that the bundle's own kernels keep, in order."""
    seen = observe(bundle, library, feeds, lambda node: node.op_type == SELECTS)
    return [one.outputs[1] for one in seen]


def agreement(source: Sequence[Ranking], kept: Sequence[Array]) -> list[StageAgreement]:
    """One entry per stage. Places are followed back to the patches of the picture.

    Raises ValueError if the two do not have the same stages.
    """
    if [r.kept.shape for r in source] != [k.shape for k in kept]:
        raise ValueError("source and bundle select at different stages")
    stages = []
    in_source, in_bundle = Tokens(), Tokens()
    for stage, (ranking, places) in enumerate(zip(source, kept, strict=True)):
        pictures, count = ranking.scores.shape
        before = in_source.at(np.tile(np.arange(count), (pictures, 1)))
        mine, theirs = in_source.keep(ranking.kept), in_bundle.keep(places)
        stages.append(_stage(stage, ranking, mine, theirs, before))
    return stages


def forced(
    bundle: ir.Model, library: Path | None, feeds: Mapping[str, Array], source: Sequence[Ranking]
) -> Array:
    """The bundle's output where every stage keeps what the source keeps; other kernels as they are.

    The selecting operators run on their bodies, with the places as constants.
    """
    model = bundle.clone()
    before = set(model.graph)
    for node in [node for node in model.graph if node.op_type == SELECTS and node.domain == DOMAIN]:
        inline_body(node)
    chosen = [n for n in model.graph if n not in before and n.op_type == "TopK"]
    for ranking, node in zip(source, chosen, strict=True):
        _keep(model.graph, node, ranking.kept)
    attach_functions(model)
    session = open_session(ir.to_proto(model).SerializeToString(), session_options(None, library))
    return next(iter(infer(session, feeds).values()))


def _keep(graph: ir.Graph, node: ir.Node, places: Array) -> None:
    name = f"{node.name}/forced"
    held = ir.Value(name=name, const_value=ir.tensor(places.astype(np.int64), name=name))
    held.shape, held.dtype = ir.Shape(places.shape), ir.DataType.INT64
    graph.register_initializer(held)
    ir.convenience.replace_all_uses_with(node.outputs[1], held, replace_graph_outputs=True)


def _stage(
    stage: int,
    ranking: Ranking,
    mine: Sequence[Array],
    theirs: Sequence[Array],
    before: Sequence[Array],
) -> StageAgreement:
    """`mine` and `theirs` are the patches kept of each picture, `before` those that were ranked."""
    jaccard, margin, flipped = 1.0, 1.0, 0
    gaps: list[float] = []
    for picture, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        scores, patches = ranking.scores[picture], before[picture]
        other = np.setxor1d(a, b)
        jaccard = min(jaccard, np.intersect1d(a, b).size / np.union1d(a, b).size)
        margin = min(margin, _margin(scores, len(a)))
        flipped += -(-len(other) // 2)
        gaps += _gaps(scores, len(a), patches, other)
    largest = max(gaps) if gaps else None
    return StageAgreement(stage, int(ranking.kept.shape[1]), jaccard, margin, flipped, largest)


def _cut(scores: Array, kept: int) -> tuple[float, float]:
    """The lowest score that is kept, and what shares are of."""
    cut = float(np.sort(scores)[::-1][kept - 1])
    return cut, abs(cut) or 1.0


def _margin(scores: Array, kept: int) -> float:
    """How far the first dropped score lies under the last kept one."""
    if kept >= len(scores):
        return 1.0
    cut, scale = _cut(scores, kept)
    return (cut - float(np.sort(scores)[::-1][kept])) / scale


def _gaps(scores: Array, kept: int, patches: Array, flipped: Array) -> list[float]:
    """How far the flipped patches lie from the cut. One that an earlier stage of the source had
    dropped has no score here and is not looked up: it was counted there."""
    cut, scale = _cut(scores, kept)
    place = {int(patch): index for index, patch in enumerate(patches)}
    return [abs(float(scores[place[p]]) - cut) / scale for p in map(int, flipped) if p in place]
