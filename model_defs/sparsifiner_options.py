"""What a Sparsifiner can be made of: its variants, its options, and the token counts they give."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .errors import ModelOptionError
from .evit import HEAD_DIM, PATCH, check_blocks, check_rate


@dataclass(frozen=True)
class Architecture:
    """A backbone ("deit" or "lvvit") and the options of the authors' configuration.

    `attn_keep_rate` is the share of the keys that each query keeps, unless `score_threshold` says
    above what score; `coef_topk` coefficients of each query stay, or those above `coef_threshold`.
    `dim`, `head_dim` and `blocks` (None: the backbone's) are no options of a variant.
    """

    backbone: str = "deit"
    image_size: int = 224
    attn_keep_rate: float = 0.25
    score_threshold: float | None = None
    coef_topk: int = 8
    coef_threshold: float | None = None
    basis_threshold: float = 0.02
    reduce_n_factor: int = 6
    reduce_c_factor: int = 2
    share_inout_proj: bool = False
    token_pruning_loc: tuple[int, ...] = ()
    token_keep_rate: float = 1.0
    prune_attn_matrix_row: bool = False
    dim: int = 384
    head_dim: int = HEAD_DIM
    blocks: int | None = None

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return self.blocks or (16 if self.backbone == "lvvit" else 12)

    @property
    def heads(self) -> int:
        """How many heads an attention has."""
        return self.dim // self.head_dim

    @property
    def tokens(self) -> int:
        """Length of the sequence, class token included."""
        return 1 + (self.image_size // PATCH) ** 2


_PRUNED = Architecture(token_pruning_loc=(3, 6, 9), token_keep_rate=0.7)
ARCHITECTURES = {
    "sparsifiner_s": Architecture(),
    "sparsifiner_s_384": Architecture(image_size=384),
    "sparsifiner_lvvit_s": Architecture("lvvit"),
    "sparsifiner_s_share": Architecture(share_inout_proj=True),
    "sparsifiner_s_a010": Architecture(attn_keep_rate=0.1),
    "sparsifiner_s_a050": Architecture(attn_keep_rate=0.5),
    "sparsifiner_s_a100": Architecture(attn_keep_rate=1.0),
    "sparsifiner_s_coefthr": Architecture(coef_threshold=0.05),
    # The published configuration has 1e-4 for scores; the recorded outputs were made with 0.03.
    "sparsifiner_s_thr": Architecture(coef_threshold=0.05, score_threshold=0.03),
    "sparsifiner_s_prune07": _PRUNED,
    "sparsifiner_s_prune07_row": replace(_PRUNED, prune_attn_matrix_row=True),
    "sparsifiner_nano": Architecture(
        image_size=64, coef_topk=4, reduce_n_factor=2, dim=64, head_dim=32, blocks=6
    ),
}


@dataclass(frozen=True)
class Pruning:
    """What one block does with tokens: static numbers, as the counts are the same for all images.

    `budget` keys stay for each query; `entering` patch tokens are active before the block; it
    leaves the `leaving` best active (None: it prunes none); `rows`: inactive queries see nothing.
    """

    budget: int
    entering: int
    leaving: int | None = None
    rows: bool = False


def pruning_schedule(arch: Architecture) -> tuple[Pruning, ...]:
    """The token counts of every block. The keep rate is raised to 1, 2, 3 in blocks 3, 6 and 9.

    Once tokens are pruned, no query keeps more keys than there are active patch tokens.
    """
    budget = math.ceil(arch.attn_keep_rate * arch.tokens)
    patches = arch.tokens - 1
    active, schedule = patches, []
    for block in range(arch.depth):
        leaving = None
        if block in arch.token_pruning_loc:
            leaving = math.ceil(arch.token_keep_rate ** (block // 3) * patches)
        started = any(before < block for before in arch.token_pruning_loc)
        kept = min(budget, active) if started else budget
        schedule.append(Pruning(kept, active, leaving, arch.prune_attn_matrix_row and started))
        active = active if leaving is None else min(active, leaving)
    return tuple(schedule)


def _check_numbers(arch: Architecture, where: str) -> None:
    for field in ("score_threshold", "coef_threshold", "basis_threshold"):
        value = getattr(arch, field)
        optional = field != "basis_threshold" and value is None
        if not optional and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ModelOptionError(
                f"{field} cannot be {value!r}", where=where, remedy=f"a number, as in {field}=0.02"
            )
    for field in ("image_size", "coef_topk", "reduce_n_factor", "reduce_c_factor"):
        value = getattr(arch, field)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ModelOptionError(
                f"{field} cannot be {value!r}", where=where, remedy="a whole number of at least 1"
            )
    if arch.image_size % PATCH:
        raise ModelOptionError(
            f"image_size {arch.image_size} is not made of whole patches",
            where=where,
            remedy=f"a multiple of {PATCH}",
        )
    rank = arch.tokens // arch.reduce_n_factor
    if rank < 1 or arch.head_dim // arch.reduce_c_factor < 1:
        raise ModelOptionError(
            "the reduction factors leave the predictor no rank",
            where=where,
            remedy=f"larger pictures, or reduce_n_factor of at most {arch.tokens} and "
            f"reduce_c_factor of at most {arch.head_dim}",
        )
    if arch.coef_threshold is None and arch.coef_topk > rank:
        raise ModelOptionError(
            f"coef_topk {arch.coef_topk} of {rank} coefficients",
            where=where,
            remedy=f"1 to {rank}, or larger pictures",
        )


def check(arch: Architecture, where: str) -> None:
    """Raise ModelOptionError where the options make no network."""
    _check_numbers(arch, where)
    for field in ("share_inout_proj", "prune_attn_matrix_row"):
        if not isinstance(getattr(arch, field), bool):
            raise ModelOptionError(
                f"{field} cannot be {getattr(arch, field)!r}", where=where, remedy="true or false"
            )
    for rate in (arch.attn_keep_rate, arch.token_keep_rate):
        check_rate(rate, where)
    check_blocks(arch.token_pruning_loc, arch.depth, where)
    if arch.token_pruning_loc and arch.backbone == "lvvit":
        raise ModelOptionError(
            "LV-ViT's version prunes no tokens", where=where, remedy="an empty token_pruning_loc"
        )
