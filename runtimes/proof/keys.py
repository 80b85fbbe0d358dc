"""Which keys the queries of a Sparsifiner keep in a bundle, against its source, layer by layer.

A kernel does not say what it kept. It is asked again, alone, with the identity for its values: what
it then gives are its weights, and where they are not zero it kept the key. The choices of later
layers follow those of earlier ones, so that whether a choice is right is judged in a run where the
source's keys are forced on all layers; what happens without force is told beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from attnc.compiler.ops.alone import alone
from attnc.compiler.ops.base import DOMAIN
from attnc.compiler.ops.inline import inline_body
from attnc.compiler.ops.registry import attach_functions
from attnc.compiler.provenance import torch_module
from attnc.runtimes.onnx_session import infer, open_session, session_options
from attnc.runtimes.proof.float64 import compute64
from attnc.runtimes.proof.key_choices import WEIGHTS, Choice, KeyAgreement, agreement, choice_of

Array = NDArray[Any]
OPERATORS = ("SparseAttention", "SparseAttentionActive")
#: The name in the operators' bodies of what is kept, bool [B, heads, N, N].
KEPT = "kept"


@dataclass(frozen=True)
class Keys:
    """All layers, and the output [B, classes] with the source's keys forced on each."""

    layers: tuple[KeyAgreement, ...]
    forced: Array


def choices_of(graph: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Choice]:
    """What each layer chooses in float64, by the name of its output; `graph` is the source's, its
    sparse attentions fused and nothing lowered."""
    found: dict[str, Choice] = {}

    def watch(node: ir.Node, given: Sequence[Array | None], made: Sequence[Array]) -> None:
        if is_sparse(node):
            inputs = [array for array in given if array is not None]
            found[str(node.outputs[0].name)] = choice_of(inputs, _attributes(node))

    compute64(graph, feeds, watch)
    return found


def compare_keys(
    bundle: ir.Model,
    library: Path | None,
    feeds: Mapping[str, Array],
    source: Mapping[str, Choice],
) -> Keys:
    """Raises ValueError if bundle and source do not choose keys at the same layers."""
    nodes = [node for node in bundle.graph if is_sparse(node)]
    if [str(node.outputs[0].name) for node in nodes] != list(source):
        raise ValueError("source and bundle choose keys at different layers")
    free = _run(bundle, nodes, library, feeds)
    forced = _run(_forced(bundle, source), nodes, library, feeds)
    layers = []
    for node, choice in zip(nodes, source.values(), strict=True):
        layers.append(_layer(node, choice, library, free, forced))
    return Keys(tuple(layers), forced[str(bundle.graph.outputs[0].name)])


def is_sparse(node: ir.Node) -> bool:
    """Whether the node chooses keys."""
    return node.domain == DOMAIN and node.op_type in OPERATORS


def kept_by(node: ir.Node, library: Path | None, qkv: Array, active: Array | None = None) -> Array:
    """Which keys the kernel (its body without a library) keeps: bool [B, heads, N, N].

    Raises ValueError if the node cannot stand alone.
    """
    lone = alone(node)
    if lone is None:
        raise ValueError(f"{node.name} has inputs of unknown types")
    options = session_options(1, library)
    session = open_session(lone.serialized(), options)
    names = [name for name, _, _ in lone.inputs]
    heads, dim = (int(node.attributes[key].value) for key in ("heads", "dim"))
    batch, tokens, _ = qkv.shape
    kept = np.zeros((batch, heads, tokens, tokens), bool)
    for begin in range(0, tokens, dim):
        asked = qkv.copy()
        values = asked.reshape(batch, tokens, 3, heads, dim)[:, :, 2]
        values[:] = 0
        count = min(dim, tokens - begin)
        for place in range(count):
            values[:, begin + place, :, place] = 1
        given = [asked] if active is None else [asked, active]
        (found,) = infer(session, dict(zip(names, given, strict=True))).values()
        weights = found.reshape(batch, tokens, heads, dim).transpose(0, 2, 1, 3)
        kept[..., begin : begin + count] = weights[..., :count] != 0
    return kept


def _layer(
    node: ir.Node,
    choice: Choice,
    library: Path | None,
    free: Mapping[str, Array],
    forced: Mapping[str, Array],
) -> KeyAgreement:
    runs = [_inputs(node, run) for run in (free, forced)]
    kept = [kept_by(node, library, *run) for run in runs]
    found = agreement(torch_module(node), choice, *kept)
    active = runs[1][1] if len(runs[1]) > 1 else None
    same = active is None or np.array_equal(active > 0, choice.active > 0)
    return found if same else replace(found, comparable=False)


def _run(
    model: ir.Model, nodes: Sequence[ir.Node], library: Path | None, feeds: Mapping[str, Array]
) -> dict[str, Array]:
    """The output, and what reaches the nodes, which the model may hold no longer."""
    watched = model.clone()
    held = {str(value.name): value for node in watched.graph for value in node.outputs}
    given = {str(value.name) for value in (*watched.graph.inputs, *watched.graph.outputs)}
    names = {str(value.name) for node in nodes for value in _fed(node)}
    watched.graph.outputs.extend(held[name] for name in sorted(names - given))
    attach_functions(watched)
    session = open_session(ir.to_proto(watched).SerializeToString(), session_options(None, library))
    return {**feeds, **infer(session, feeds)}


def _fed(node: ir.Node) -> list[ir.Value]:
    """qkv, and the mask of active tokens if there is one."""
    fed = [node.inputs[0], *node.inputs[WEIGHTS + 1 :]]
    return [value for value in fed if value is not None and value.const_value is None]


def _inputs(node: ir.Node, run: Mapping[str, Array]) -> list[Array]:
    return [run[str(value.name)] for value in _fed(node)]


def _forced(bundle: ir.Model, source: Mapping[str, Choice]) -> ir.Model:
    """The bundle with what each layer keeps as a constant; these run on their bodies."""
    model = bundle.clone()
    for node in [node for node in model.graph if is_sparse(node)]:
        name = str(node.outputs[0].name)
        inline_body(node)
        chosen = next(
            value
            for inner in model.graph
            for value in inner.outputs
            if value.name == f"{name}/{KEPT}"
        )
        held = ir.Value(name=f"{name}/forced")
        held.const_value = ir.tensor(source[name].kept, name=held.name)
        held.shape, held.dtype = ir.Shape(source[name].kept.shape), ir.DataType.BOOL
        model.graph.register_initializer(held)
        ir.convenience.replace_all_uses_with(chosen, held)
    return model


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: found.value for name, found in node.attributes.items()}
