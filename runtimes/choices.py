"""Checks the operators that choose, one by one, on what really reaches them in the model.

The logits of a model that chooses may differ, because of near-ties. Each such operator alone may
not: from the inputs that it got, in float64, its output follows wherever its choice is clear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.bundle import Bundle
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.registry import get
from attnc.runtimes.attnc_runner import host_library
from attnc.runtimes.checks import Check
from attnc.runtimes.compare import RELATIVE_LIMIT
from attnc.runtimes.onnx_session import infer, open_session, session_options

Array = NDArray[Any]


@dataclass(frozen=True)
class _Seen:
    """One operator of a run: what came in, what came out."""

    name: str
    inputs: list[Array]
    attributes: dict[str, Any]
    output: Array


def choice_check(
    bundle: Bundle, name: str, array: Array, *, kernels: bool, library: Path | None = None
) -> Check | None:
    """All choosing operators of a run on this input; None if the bundle has none.

    `library` has the kernels, without it the bundle's own.
    """
    worst, clear, total, count = 0.0, 0, 0, 0
    for seen in _watch(bundle, array, kernels, library):
        rule = get(seen.name).discontinuous
        assert rule is not None
        expected = np.asarray(get(seen.name).reference(*seen.inputs, **seen.attributes))
        settled = rule.settled(seen.inputs, seen.attributes)
        error = np.abs(seen.output - expected)[settled] / (float(np.abs(expected).max()) or 1.0)
        worst = max(worst, float(np.nan_to_num(error, nan=np.inf).max(initial=0.0)))
        clear, total, count = clear + int(settled.sum()), total + settled.size, count + 1
    if not count:
        return None
    reason = f"{count} operators that choose; {1 - clear / total:.1%} left out as near-ties"
    if worst == np.inf:
        return Check(name, "failed", None, RELATIVE_LIMIT, f"{reason}; a value is not finite")
    if worst > RELATIVE_LIMIT or not clear:
        return Check(name, "failed", worst, RELATIVE_LIMIT, reason)
    return Check(name, "verified", worst, RELATIVE_LIMIT, reason)


def _watch(bundle: Bundle, array: Array, kernels: bool, library: Path | None) -> Iterator[_Seen]:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(bundle.model_path)
    nodes = [n for n in model.graph.node if n.domain == DOMAIN and get(n.op_type).discontinuous]
    if not nodes:
        return
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    given = {value.name for value in (*model.graph.input, *model.graph.output)}
    wanted = {name for node in nodes for name in (*node.input, *node.output)}
    for name in sorted(wanted - set(held) - given):
        value = model.graph.output.add()
        value.name, value.type.tensor_type.elem_type = name, onnx.TensorProto.FLOAT
    loaded = (library or host_library(bundle)) if kernels else None
    options = session_options(None, loaded)
    feed = {bundle.manifest.inputs[0].name: array}
    found = {**feed, **infer(open_session(model.SerializeToString(), options), feed)}
    for node in nodes:
        inputs = [
            found[name] if name in found else numpy_helper.to_array(held[name])
            for name in node.input
        ]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        yield _Seen(node.op_type, inputs, attributes, found[node.output[0]])
