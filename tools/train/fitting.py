"""The training loop: one thread, one order of pictures, so that a run repeats to the byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnc.model_defs.registry import create_model, model_config
from attnc.tools.train.mask_loss import predictor_losses
from attnc.tools.train.pictures import Pictures, load_pictures, shifted
from attnc.tools.train.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

EMBEDDINGS = ("pos_embed", "cls_token")


@dataclass(frozen=True)
class Epoch:
    """`loss` is the mean of the training loss, `held_out` the share of right first classes."""

    epoch: int
    loss: float
    held_out: float

    def as_json(self) -> dict[str, Any]:
        """The entry of the curve."""
        return {
            "epoch": self.epoch,
            "loss": round(self.loss, 5),
            "held_out": round(self.held_out, 5),
        }


@dataclass(frozen=True)
class Fitted:
    """A trained module in eval mode and how it came to be; `curve` has one entry per epoch."""

    module: nn.Module
    curve: tuple[Epoch, ...]


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """torch seeded, on one thread, with deterministic algorithms only; as before afterwards."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)


def fit(
    name: str, recipe: Recipe, seed: int, tell: Callable[[Epoch], None] = lambda epoch: None
) -> Fitted:
    """Train the variant `name`; `tell` hears of each epoch.

    Raises UsageError for unknown names, MissingRuntimeError without scikit-learn.
    """
    config = model_config(name)
    with repeatable(seed):
        model = create_model(name)
        _draw_embeddings(model, recipe.embedding_deviation)
        training, held = (load_pictures(config, part) for part in ("training", "held-out"))
        steps = Steps(model, recipe, training, seed)
        curve = []
        for number in range(1, recipe.epochs + 1):
            loss = steps.epoch()
            curve.append(Epoch(number, loss, accuracy(model, held)))
            tell(curve[-1])
    return Fitted(model.eval().requires_grad_(False), tuple(curve))


def accuracy(model: nn.Module, pictures: Pictures, batch: int = 64) -> float:
    """The share of pictures whose first class is right, with the model in eval mode."""
    import torch

    model.eval()
    with torch.no_grad():
        parts = [model(part).argmax(dim=1) for part in pictures.values.split(batch)]
    return float((torch.cat(parts) == pictures.labels).double().mean())


class Steps:
    """The state of one training: optimiser, schedule, and what draws order and shifts."""

    def __init__(self, model: nn.Module, recipe: Recipe, training: Pictures, seed: int) -> None:
        import torch

        self.model, self.recipe, self.training = model, recipe, training
        self.draw = torch.Generator().manual_seed(seed)
        total = recipe.epochs * math.ceil(len(training.labels) / recipe.batch)
        warm = max(1, round(recipe.warm_up * total))
        self.optimiser = torch.optim.AdamW(_groups(model, recipe), lr=recipe.rate, foreach=False)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: _factor(step, warm, total)
        )

    def epoch(self) -> float:
        """Once over all pictures; returns the mean loss."""
        import torch

        self.model.train()
        order = torch.randperm(len(self.training.labels), generator=self.draw)
        losses = [self._step(chosen) * len(chosen) for chosen in order.split(self.recipe.batch)]
        return math.fsum(losses) / len(order)

    def _step(self, chosen: Tensor) -> float:
        import torch

        recipe, pictures = self.recipe, self.training
        values = shifted(pictures.values[chosen], recipe.most_shift, pictures.paper, self.draw)
        with ExitStack() as stack:
            extra = stack.enter_context(predictor_losses(self.model)) if recipe.mask_weight else []
            logits = self.model(values)
        loss = torch.nn.functional.cross_entropy(
            logits, pictures.labels[chosen], label_smoothing=recipe.label_smoothing
        )
        if extra:
            loss = loss + recipe.mask_weight * torch.stack(extra).mean()
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.most_gradient, foreach=False)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())


def _factor(step: int, warm: int, total: int) -> float:
    """Of the learning rate: up in a line, then down along half a cosine."""
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Matrices decay, vectors (biases, norms) and embeddings do not."""
    named = list(model.named_parameters())
    decays = [p for name, p in named if p.ndim > 1 and not name.endswith(EMBEDDINGS)]
    stays = [p for name, p in named if p.ndim <= 1 or name.endswith(EMBEDDINGS)]
    return [
        {"params": decays, "weight_decay": recipe.weight_decay},
        {"params": stays, "weight_decay": 0.0},
    ]


def _draw_embeddings(model: nn.Module, deviation: float) -> None:
    """The families' code leaves them zero."""
    import torch

    for name, parameter in model.named_parameters():
        if name.endswith(EMBEDDINGS):
            torch.nn.init.trunc_normal_(parameter, std=deviation)
