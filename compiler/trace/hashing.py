"""Fingerprints of weights and files, for the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor


def _digest(entries: Iterable[tuple[str, str, tuple[int, ...], bytes]]) -> str:
    total = hashlib.sha256()
    for name, dtype, shape, data in entries:
        total.update(f"{name}|{dtype}|{shape}|".encode())
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()


def hash_state_dict(state: Mapping[str, Tensor]) -> str:
    """sha256 (hex) over the sorted entries of a state dict."""
    return _digest(
        (key, str(state[key].dtype), tuple(state[key].shape), _bytes_of(state[key]))
        for key in sorted(state)
    )


def _bytes_of(tensor: Tensor) -> bytes:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return np.ascontiguousarray(flat.view(torch.uint8).numpy()).tobytes()


def hash_initializers(graph: ir.Graph) -> str:
    """sha256 (hex) over the sorted initializers of a graph."""
    tensors = {
        name: value.const_value
        for name, value in graph.initializers.items()
        if value.const_value is not None
    }
    return _digest(
        (
            name,
            str(tensors[name].dtype),
            tuple(tensors[name].shape.numpy()),
            tensors[name].tobytes(),
        )
        for name in sorted(tensors)
    )


def hash_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
