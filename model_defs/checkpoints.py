"""Reads published checkpoints without running code from them, and refuses those of another model.

Accepted: `.safetensors`, and torch files holding a state dict, bare or under `model`, `state_dict`,
`model_state_dict` or `model_ema`, with or without the `module.` prefix of data-parallel training.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import CheckpointError

CONTAINER_KEYS = ("model", "state_dict", "model_state_dict", "model_ema")
_SHOWN = 3


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except Exception as error:  # the Rust side raises its own type for every malformed file
        raise CheckpointError(
            "not a readable safetensors file", where=f"{path}: {_first_line(error)}"
        ) from error


def _read_torch(path: Path) -> Any:
    # Training scripts of this field store their parsed arguments beside the weights; a Namespace is
    # plain data, everything else stays forbidden.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "not a checkpoint of tensors only: it holds pickled objects, or is no torch file",
            where=str(path),
            remedy="save the state dict alone: torch.save({'model': model.state_dict()}, path)",
        ) from error
    except Exception as error:  # truncated and foreign files fail in many ways inside torch
        raise CheckpointError(
            "the checkpoint cannot be read; it is truncated, or no torch file",
            where=f"{path}: {_first_line(error)}",
        ) from error


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = [repr(k) for k in list(value)[:_SHOWN]]
        more = ", …" if len(value) > _SHOWN else ""
        return f"a dict of {len(value)} entries ({', '.join(keys)}{more})"
    return f"a {type(value).__name__}"


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The state dict in a checkpoint file, on the CPU; CheckpointError where there is none."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"the checkpoint {what}", where=str(path))
    if path.stat().st_size == 0:
        raise CheckpointError("the checkpoint is an empty file", where=str(path))
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    candidates = [content]
    if isinstance(content, Mapping):
        candidates += [content[key] for key in CONTAINER_KEYS if key in content]
    for candidate in candidates:
        if _is_state_dict(candidate):
            return _without_prefix(candidate)
    raise CheckpointError(
        f"no state dict in the checkpoint: it holds {_describe(content)}",
        where=str(path),
        remedy=f"a dict of tensors, bare or under one of {', '.join(CONTAINER_KEYS)}",
    )


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "module."
    if all(key.startswith(prefix) for key in state):
        return {key[len(prefix) :]: value for key, value in state.items()}
    return dict(state)


def _some(title: str, keys: list[str]) -> str:
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {title}: {', '.join(keys[:_SHOWN])}{more}"


def _class_counts(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], misshaped: list[str]
) -> tuple[int, int] | None:
    """(ours, theirs) if the only differences are first dimensions that all change alike."""
    counts = set()
    for key in misshaped:
        ours, theirs = tuple(expected[key].shape), tuple(given[key].shape)
        if not ours or len(ours) != len(theirs) or ours[1:] != theirs[1:]:
            return None
        counts.add((ours[0], theirs[0]))
    return counts.pop() if len(counts) == 1 else None


def _shapes(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], key: str) -> str:
    return f"{key} (is {list(given[key].shape)}, needs {list(expected[key].shape)})"


def _check_fit(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], name: str, where: str
) -> None:
    # Old BatchNorm checkpoints lack the batch counter, which inference never reads.
    missing = [k for k in expected if k not in given and not k.endswith(".num_batches_tracked")]
    unexpected = [k for k in given if k not in expected]
    shared = [k for k in expected if k in given]
    misshaped = [k for k in shared if expected[k].shape != given[k].shape]
    counts = _class_counts(expected, given, misshaped)
    if counts and not missing and not unexpected:
        raise CheckpointError(
            f"the checkpoint of {name} has {counts[1]} classes, the model {counts[0]}: "
            + _shapes(expected, given, misshaped[0]),
            where=where,
            remedy=f"--num-classes {counts[1]} (num_classes={counts[1]} in Python)",
        )
    if missing or unexpected or misshaped:
        parts = []
        if missing:
            parts.append(_some("missing", missing))
        if unexpected:
            parts.append(_some("unexpected", unexpected))
        if misshaped:
            parts.append(_some("mis-shaped", [_shapes(expected, given, k) for k in misshaped]))
        raise CheckpointError(
            f"the checkpoint is not one of {name}; of {len(expected)} keys " + "; ".join(parts),
            where=where,
            remedy="name the model that the checkpoint was trained as",
        )


def _check_values(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> None:
    for key, value in given.items():
        if value.dtype.is_floating_point != expected[key].dtype.is_floating_point:
            raise CheckpointError(
                f"{key} is stored as {value.dtype}, the model has {expected[key].dtype}",
                where=where,
            )
        if value.dtype.is_floating_point and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{key} holds NaN or infinite values", where=where)


def load_checkpoint(model: nn.Module, path: str | PathLike[str], *, name: str = "") -> None:
    """Copy the weights of a checkpoint file into `model`, all or none, or raise CheckpointError."""
    given = read_checkpoint(path)
    adapt = getattr(model, "adapt_checkpoint", None)  # where a family's weights have a size
    given = given if adapt is None else adapt(given)
    expected = model.state_dict()
    _check_fit(expected, given, name or type(model).__name__, str(path))
    _check_values(expected, given, str(path))
    model.load_state_dict({**expected, **given})
