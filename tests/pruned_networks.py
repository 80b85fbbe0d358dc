"""Tiny networks that prune tokens between attentions over predicted keys, as authors write it.

Nothing is removed: a mask of the tokens that stay zeroes the others, in q, k, v and between blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from sparse_networks import DIM, HEADS, NARROW, RANK, TOKENS, WIDTH
from torch import Tensor, nn

KEEP, COEFFICIENTS = 5, 3


@dataclass(frozen=True)
class Pruned:
    """How one author writes it; see `PrunedNet` for what each field changes."""

    mask: str = "float"  # of the tokens; or "bool"
    zeroing: str = "times"  # of q, k and v: "times" the mask; "fill"; "packed": before they part
    first: str = (
        "joined"  # the class token's one: "joined" to the others, or "beside" scattered ones
    )
    rows: str | None = None  # inactive queries see nothing: "and", "times", "fill", "whole"
    softmax: str = "all"  # "all": one with a mask of ones for row 0; "apart": two
    class_row: str = "row"  # of the weights, then the mean; or "mean" over heads, then the row
    # of the keys: no more than active patches, known ("known") or "counted"; or "fixed"
    budget: str = "known"
    hiding: str = "where"  # of inactive keys' scores: "where", or "fill" by what is not active
    score_threshold: float | None = None
    leaving: tuple[int, ...] = (11, 7)  # active patches after each block but the last
    # What breaks the pattern: "q", "k", "v", "low_q", "low_k" or "scores" are left as they are;
    # "other": v follows another choice; "both": two choices are joined
    broken: str = ""


STYLES = {
    "registry": Pruned(softmax="apart"),
    "registry-rows": Pruned(softmax="apart", rows="and"),
    "paper": Pruned(),
    "paper-rows": Pruned(rows="times", class_row="mean"),
    "bool": Pruned(mask="bool", zeroing="fill", hiding="fill", rows="fill"),
    "whole-rows": Pruned(mask="bool", zeroing="fill", rows="whole"),
    "packed": Pruned(zeroing="packed", class_row="mean"),
    "counted": Pruned(budget="counted", leaving=(8, 3)),
    "beside": Pruned(first="beside", softmax="apart"),
    "threshold": Pruned(softmax="apart", score_threshold=0.012),
}


class PrunedAttention(nn.Module):
    """[B, N, C] to the same, and the class token's row of the weights over the other tokens."""

    def __init__(self, style: Pruned, entering: int) -> None:
        super().__init__()
        self.style, self.entering = style, entering
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.proj_c_q, self.proj_c_k = nn.Linear(DIM, NARROW), nn.Linear(DIM, NARROW)
        self.proj_n = nn.Parameter(torch.randn(TOKENS, RANK) * 0.3)
        basis = (torch.randn(RANK, TOKENS) * 0.05).abs()
        self.basis = nn.Parameter(torch.where(basis > 0.02, basis, 0.0))

    def _zeroed(self, x: Tensor, active: Tensor | None, what: str) -> Tensor:
        if active is None or self.style.broken == what:
            return x
        if self.style.zeroing == "fill":
            return x.masked_fill(~(active > 0), 0.0)
        return x * active.to(x.dtype)

    def _budget(self, active: Tensor | None) -> int | Tensor:
        if self.style.budget != "counted" or active is None:
            return KEEP if self.style.budget == "fixed" else min(KEEP, self.entering)
        patches = active.flatten(1)[0, 1:].sum().to(torch.int64)
        return torch.minimum(torch.tensor(KEEP), patches)

    def keys(self, q: Tensor, k: Tensor, active: Tensor | None) -> Tensor:
        """[B, heads, N-1, N]: True where a query sees a key."""
        low_q = self._zeroed(self.proj_c_q(q), active, "low_q")
        low_k = self._zeroed(self.proj_c_k(k), active, "low_k")
        logits = low_q @ (low_k.transpose(2, 3) @ self.proj_n) * HEADS**-0.5
        dense = logits[:, :, 1:].softmax(dim=-1)
        values, index = dense.topk(COEFFICIENTS, dim=-1)
        scores = torch.zeros_like(dense).scatter(-1, index, values) @ self.basis
        if active is not None and self.style.broken != "scores":
            seen = active.transpose(2, 3)
            if self.style.hiding == "fill":
                scores = scores.masked_fill(~(seen > 0), -math.inf)
            else:
                scores = torch.where(seen > 0, scores, -math.inf)
        if self.style.score_threshold is not None:
            return scores > self.style.score_threshold
        index = torch.topk(scores, self._budget(active), dim=-1).indices
        return torch.zeros_like(scores).scatter(-1, index, 1.0).bool()

    def _blinded(self, mask: Tensor, active: Tensor) -> Tensor:
        rows = active if self.style.rows == "whole" else active[:, :, 1:]
        if self.style.rows == "times":
            return mask.float() * rows.float()
        if self.style.rows == "fill":
            return torch.where(rows > 0, mask.float(), 0.0)
        return mask & (rows > 0)

    def forward(self, x: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, length, width = x.shape
        qkv = self.qkv(x)
        packed = self.style.zeroing == "packed"
        if active is not None and packed:
            qkv = qkv * active[:, 0]
        q, k, v = qkv.reshape(batch, length, 3, HEADS, DIM).permute(2, 0, 3, 1, 4).unbind(0)
        if not packed:
            q, k = self._zeroed(q, active, "q"), self._zeroed(k, active, "k")
            other = active is not None and self.style.broken == "other"
            v = self._zeroed(v, active.roll(1, 2) if other and active is not None else active, "v")
        mask = self.keys(q, k, active)
        blind = self.style.rows is not None and active is not None
        if blind and active is not None and self.style.rows != "whole":
            mask = self._blinded(mask, active)
        logits = q @ k.transpose(2, 3) * DIM**-0.5
        if self.style.softmax == "apart":
            weights, row = self._apart(logits, mask, blind)
        else:
            first = torch.ones(batch, HEADS, 1, length, dtype=mask.dtype)
            mask = torch.cat([first, mask], dim=2).bool()
            if blind and active is not None and self.style.rows == "whole":
                mask = self._blinded(mask, active)
            weights = torch.nan_to_num(logits.masked_fill(~mask, -math.inf).softmax(dim=-1))
            row = weights
        out = self.proj((weights @ v).transpose(1, 2).reshape(batch, length, width))
        if self.style.class_row == "mean":
            return out, row.mean(dim=1)[:, 0, 1:]
        return out, row[:, :, 0, 1:].mean(dim=1)

    def _apart(self, logits: Tensor, mask: Tensor, blind: bool) -> tuple[Tensor, Tensor]:
        sparse = torch.where(mask, logits[:, :, 1:], -math.inf).softmax(dim=-1)
        if blind or self.style.score_threshold is not None:
            sparse = torch.where(mask, sparse, 0.0)
        row = logits[:, :, :1].softmax(dim=-1)
        return torch.cat([row, sparse], dim=2), row


class PrunedNet(nn.Module):
    """[B, N, C] to [B, C], through one attention more than tokens are pruned."""

    def __init__(self, style: Pruned) -> None:
        super().__init__()
        self.style = style
        entering = (TOKENS - 1, *style.leaving)
        self.blocks = nn.ModuleList(PrunedAttention(style, count) for count in entering)

    def _active(self, scores: Tensor, active: Tensor | None, leaving: int) -> Tensor:
        """The best active tokens and the class token, as [B, 1, N, 1]."""
        before = active
        if active is not None:
            scores = torch.where(active[:, 0, 1:, 0] > 0, scores, -math.inf)
        index = scores.topk(leaving, dim=1).indices
        ones = torch.ones_like(scores[:, :1])
        if self.style.first == "beside":
            new = torch.cat([ones, torch.zeros_like(scores)], dim=1)
            new = new.scatter(1, index + 1, 1.0)
        else:
            new = torch.cat([ones, torch.zeros_like(scores).scatter(1, index, 1.0)], dim=1)
        if self.style.mask == "bool":
            new = new > 0.5
        active = new.unsqueeze(1).unsqueeze(3)
        return active * before if self.style.broken == "both" and before is not None else active

    def forward(self, x: Tensor) -> Tensor:
        active = None
        for block, leaving in zip(self.blocks, (*self.style.leaving, None), strict=True):
            attended, scores = block(x, active)
            x = x + attended
            if leaving is not None:
                active = self._active(scores, active, leaving)
            if active is not None:
                x = x * active[:, 0].to(x.dtype)
        return x[:, 0]
