"""Teaches Sparsifiner's predictors, which get no gradient through the choice of keys.

As in the paper their scores learn the map of full attention, here by the squared error over the
queries that choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def predictor_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    """While open, each forward pass of `model` adds one loss per attention layer to the list."""
    from attnc.model_defs.sparsifiner import SparseAttention

    losses: list[Tensor] = []

    def listen(attention: Any, given: tuple[Any, ...], _: object) -> None:
        losses.append(_loss(attention, given[0]))

    hooks = [
        module.register_forward_hook(listen)
        for module in model.modules()
        if isinstance(module, SparseAttention)
    ]
    try:
        yield losses
    finally:
        for hook in hooks:
            hook.remove()


def _loss(attention: Any, x: Tensor) -> Tensor:
    """The mean over queries of the squared error over all keys."""
    batch, length, _ = x.shape
    qkv = attention.qkv(x).reshape(batch, length, 3, attention.heads, attention.head_dim)
    q, k = qkv.permute(2, 0, 3, 1, 4).detach()[:2]
    full = (q @ k.transpose(2, 3) * attention.head_dim**-0.5).softmax(dim=-1)[:, :, 1:]
    scores: Tensor = attention.mask_predictor.scores(q, k, None)
    return (scores - full).square().sum(dim=-1).mean()
