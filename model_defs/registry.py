"""The families, in one explicit list, and the functions that build them by name.

Entry points of the group `attnc.models` add third parties' families: each names a module with
what ours have: `CONFIGS`, `create(name, num_classes, **options)` and, optionally, `INIT_GAINS`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .config import ModelConfig
from .errors import CheckpointError, ModelError, ModelOptionError, UnknownModelError

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "FAMILIES",
    "CheckpointError",
    "Family",
    "ModelConfig",
    "ModelError",
    "ModelOptionError",
    "UnknownModelError",
    "build_model",
    "check_image_size",
    "create_model",
    "list_models",
    "load_checkpoint",
    "model_config",
    "shipped_weights",
    "uses_shipped_weights",
]

ENTRY_POINT_GROUP = "attnc.models"


@dataclass(frozen=True)
class Family:
    """One file of this package and the variants in it (here, so that listing needs no torch)."""

    module: str
    variants: tuple[str, ...]


_KEEP = ("k100", *(f"k{k:03d}{fuse}" for k in (90, 80, 70, 60, 50) for fuse in ("", "_fuse")))
_EVIT = (
    *("deit_tiny", "deit_small", "deit_base"),
    *(f"evit_{size}_{keep}" for size in ("tiny", "small", "base") for keep in _KEEP),
    *("evit_small_272_k070", "evit_small_272_k070_fuse"),
    *("evit_small_288_k060", "evit_small_288_k060_fuse"),
    *("evit_small_304_k050", "evit_small_304_k050_fuse"),
    *("evit_base_384_k100", "evit_nano"),
)

_SPARSIFINER = (
    *("sparsifiner_s", "sparsifiner_s_384", "sparsifiner_lvvit_s", "sparsifiner_s_share"),
    *("sparsifiner_s_a010", "sparsifiner_s_a050", "sparsifiner_s_a100"),
    *("sparsifiner_s_coefthr", "sparsifiner_s_thr"),
    *("sparsifiner_s_prune07", "sparsifiner_s_prune07_row", "sparsifiner_nano"),
)

FAMILIES = (
    Family("shvit", ("shvit_s1", "shvit_s2", "shvit_s3", "shvit_s4", "shvit_nano")),
    Family("evit", _EVIT),
    Family("sparsifiner", _SPARSIFINER),
    Family(
        "glmix",
        (
            "glnet_stl",
            "glnet_stl_paramslot",
            "glnet_4g",
            "glnet_9g",
            "glnet_16g",
            "glnet_4g_tklb",
            "glnet_9g_tklb",
            "glmix_nano",
        ),
    ),
    Family(
        "tic",
        (
            "tic_layer_c64_k3",
            "tic_layer_c64_k3_s2",
            "tic_layer_c96_k5_d2",
            "tic_layer_c128_k7",
            "tic_layer_c32_k5x1",
            "tic_layer_c256_k3",
            "tic_tiny",
            "tic_small",
            "tic_nano",
        ),
    ),
)


@cache
def _third_party() -> dict[str, ModuleType]:
    modules = [point.load() for point in entry_points(group=ENTRY_POINT_GROUP)]
    return {name: module for module in modules for name in module.CONFIGS}


def list_models() -> list[str]:
    """All names that `build_model` takes, ours first."""
    ours = [name for family in FAMILIES for name in family.variants]
    return ours + sorted(set(_third_party()) - set(ours))


def _module(name: str) -> ModuleType:
    for family in FAMILIES:
        if name in family.variants:
            return import_module(f".{family.module}", __package__)
    if name in _third_party():
        return _third_party()[name]
    near = difflib.get_close_matches(name, list_models(), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownModelError(
        f"unknown model {name!r}", remedy=f"{hint}known: {', '.join(list_models())}"
    )


def model_config(name: str) -> ModelConfig:
    """Input size, normalisation and class count of a variant; UnknownModelError otherwise."""
    config: ModelConfig = _module(name).CONFIGS[name]
    return config


def shipped_weights(name: str) -> Path | None:
    """The file of trained weights that comes with a variant, None if it has none.

    Raises UnknownModelError, or CheckpointError if the file is missing from the installation.
    """
    module, config = _module(name), model_config(name)
    if not config.weights:
        return None
    path = Path(str(module.__file__)).parent / "weights" / config.weights
    if not path.is_file():
        raise CheckpointError(
            f"the trained weights of {name} are missing from the installation",
            where=str(path),
            remedy=f"install attnc again, or train them: python -m attnc.tools.train {name}",
        )
    return path


def _classes(name: str, given: int | None) -> int:
    classes = model_config(name).num_classes if given is None else given
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ModelOptionError(f"num_classes must be a positive integer, not {classes!r}")
    return classes


def create_model(name: str, num_classes: int | None = None, **options: Any) -> nn.Module:
    """A model with weights as torch initialises them, for training.

    Raises UnknownModelError, ModelOptionError.
    """
    classes = _classes(name, num_classes)
    model: nn.Module = _module(name).create(name, num_classes=classes, **options)
    return model


def check_image_size(name: str, image_size: tuple[int, int]) -> None:
    """Raise ModelOptionError if the model cannot take pictures of (height, width) pixels."""
    config = model_config(name)
    smallest, multiple = config.minimum_size, config.size_multiple
    if min(image_size) < smallest or any(side % multiple for side in image_size):
        height, width = image_size
        dividing = f", both multiples of {multiple}" if multiple > 1 else ""
        raise ModelOptionError(
            f"{name} cannot take images of {height}x{width} pixels",
            where=name,
            remedy=f"height and width of at least {smallest}{dividing}",
        )


def load_checkpoint(model: nn.Module, path: str | PathLike[str], *, name: str = "") -> None:
    """Copy the weights of a checkpoint file into any module, all or none, or CheckpointError."""
    from .checkpoints import load_checkpoint as load

    load(model, path, name=name)


def uses_shipped_weights(name: str, checkpoint: object, seed: int) -> bool:
    """Whether `build_model` takes the weights that come with the variant."""
    return checkpoint is None and seed == 0 and bool(model_config(name).weights)


def _load_shipped(model: nn.Module, name: str, classes: int) -> None:
    path, own = shipped_weights(name), model_config(name).num_classes
    assert path is not None
    remedy = "a checkpoint of your own, or seed 1 (or higher) for seeded weights"
    if classes != own:
        raise ModelOptionError(
            f"the trained weights of {name} are for {own} classes, not {classes}",
            where=name,
            remedy=remedy,
        )
    try:
        load_checkpoint(model, path, name=name)
    except CheckpointError as error:
        raise ModelOptionError(
            f"the trained weights of {name} do not fit its options: {error.message}",
            where=error.where,
            remedy=remedy,
        ) from error


def build_model(
    name: str,
    *,
    num_classes: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """A model in eval mode, float32, on the CPU.

    Weights come from `checkpoint` (`.pth`, `.pt`, `.safetensors`); else those that come with the
    variant, if it has any and `seed` is 0; else from `seed`: the same on every machine, and torch's
    own random state stays as it was. `num_classes` is that of the published variant where None;
    `options` go to the family's `create`. The model's attribute `attnc_config` tells the compiler
    for what input it is meant. Raises UnknownModelError, ModelOptionError, CheckpointError.
    """
    import torch

    from .seeded import seeded_state_dict

    module = _module(name)
    classes = _classes(name, num_classes)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ModelOptionError(f"the seed must be a non-negative integer, not {seed!r}")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        model = create_model(name, classes, **options)
    model = model.float().eval()
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, name=name)
    elif uses_shipped_weights(name, checkpoint, seed):
        _load_shipped(model, name, classes)
    else:
        gains = getattr(module, "INIT_GAINS", ())
        model.load_state_dict(seeded_state_dict(model.state_dict(), seed, gains))
    model.attnc_config = model_config(name)  # type: ignore[assignment]
    return model.requires_grad_(False)
