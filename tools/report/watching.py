"""Results inside a model while it looks at a photograph, for the operators that decide where to.

The bundle's own file is watched, with its kernels; where that has none of these operators (of
other targets, or where a body took the place), the graph that the passes left is, on the bodies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.registry import attach_functions
from attnc.compiler.provenance import torch_module
from attnc.runtimes.onnx_session import infer, open_session, session_options

Array = NDArray[Any]
#: The operators that are drawn, and which of their inputs and outputs a picture needs.
CHOOSERS = ("SelectTokens", "SparseAttention", "SparseAttentionActive", "SlotCluster")


@dataclass(frozen=True)
class Looked:
    """One operator of a run: arrays by the names that its declaration gives them."""

    operator: str
    module: str
    attributes: dict[str, Any]
    inputs: tuple[Array, ...]
    outputs: dict[int, Array]


@dataclass
class Watch:
    """A session that also gives what its choosing operators read and made."""

    session: Any
    nodes: list[ir.Node]
    held: dict[str, Array]

    def look(self, array: Array) -> list[Looked]:
        """Run it on one input; the operators in the order of the graph."""
        feed = {self.session.get_inputs()[0].name: array}
        found = {**self.held, **feed, **infer(self.session, feed)}
        return [
            Looked(
                operator=node.op_type,
                module=torch_module(node),
                attributes={name: attr.value for name, attr in node.attributes.items()},
                inputs=tuple(found[name] for name in _reads(node)),
                outputs={place: found[name] for place, name in _makes(node).items()},
            )
            for node in self.nodes
        ]


def choosers(model: ir.Model) -> list[ir.Node]:
    """The operators of a graph that are drawn."""
    return [node for node in model.graph if node.domain == DOMAIN and node.op_type in CHOOSERS]


def watch(bundle: Bundle, rewritten: ir.Model | None) -> Watch | None:
    """A session over the bundle's model, or over the graph after the passes; None without any.

    Raises AttncError if ONNX Runtime or the kernels are not to be had.
    """
    from attnc.runtimes.kernels_here import kernels_here

    own = ir.load(bundle.model_path) if bundle.model_path.is_file() else None
    counts = [len(choosers(model)) if model is not None else 0 for model in (own, rewritten)]
    if own is not None and counts[0] and counts[0] >= counts[1]:
        kernels, _ = kernels_here(bundle)
        return _watched(own, None if kernels is None else kernels.library)
    if rewritten is not None and counts[1]:
        attach_functions(rewritten)
        return _watched(rewritten, None)
    return None


def _watched(model: ir.Model, library: Path | None) -> Watch:
    nodes = choosers(model)
    constants = {
        str(name): value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    given = {str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)}
    wanted = {name for node in nodes for name in (*_reads(node), *_makes(node).values())}
    proto = ir.serde.serialize_model(model)
    integers = {_makes(node)[1] for node in nodes if node.op_type == "SelectTokens"}
    for name in sorted(wanted - set(constants) - given):
        value = proto.graph.output.add()
        value.name = name
        value.type.tensor_type.elem_type = 7 if name in integers else 1  # int64, float
    options = session_options(None, library)
    options.log_severity_level = 3
    session = open_session(proto.SerializeToString(), options)
    held = {name: array for name, array in constants.items() if name in wanted}
    return Watch(session, nodes, held)


def _reads(node: ir.Node) -> list[str]:
    """What a picture needs of the inputs: the tokens, and all of Sparsifiner's predictor."""
    given = [str(value.name) for value in node.inputs if value is not None]
    return given if node.op_type.startswith("SparseAttention") else given[:1]


def _makes(node: ir.Node) -> dict[int, str]:
    """The places of the kept tokens, the slots' logits."""
    return {} if len(node.outputs) < 2 else {1: str(node.outputs[1].name)}


def kept_keys(seen: Looked) -> NDArray[np.bool_]:
    """[heads, N, N]: which keys each query keeps, of the first picture; row 0 is the class token.

    Chosen as the operator's reference does it, in float64, from what came in.
    """
    from attnc.compiler.ops.sparse_attention import largest, parts_of, scores_of, summary_of

    qkv, wq, bq, wk, bk, proj_n, basis, *active = (np.asarray(each) for each in seen.inputs)
    alive = active[0] if active else np.ones(qkv.shape[:2])
    low = summary_of(qkv, (wk, bk, proj_n), alive, seen.attributes)
    queries, _, _ = parts_of(qkv, alive, seen.attributes)
    seen_by = np.asarray(alive, np.float64)[:, None, :, None]
    scores = scores_of((queries @ wq.T + bq) * seen_by, low, basis, seen.attributes)
    scores = np.where(seen_by.swapaxes(2, 3) > 0, scores, -np.inf)
    keep, least = int(seen.attributes["keep"]), float(seen.attributes["score_threshold"])
    return np.asarray(largest(scores, keep, least)[0])
