"""ONNX's operators, as far as bodies have them, in NumPy for numbers and in PyTorch for tensors.

Each takes the node's attributes, then its inputs; an input that is a size, a place or a count is
a NumPy array in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Value = Any
_CAST = {1: "float32", 7: "int64", 9: "bool", 10: "float16", 16: "bfloat16"}


def _ints(value: Value) -> list[int]:
    return [int(item) for item in np.atleast_1d(value)]


def _axes(how: Mapping[str, Any], axes: Value, rank: int) -> list[int]:
    found = how.get("axes") if axes is None else _ints(axes)
    return list(range(rank)) if found is None else [axis % rank for axis in found]


def _shape(how: Mapping[str, Any], x: Value) -> Any:
    return np.asarray(tuple(x.shape)[how.get("start", 0) : how.get("end")], np.int64)


def _divide(how: Mapping[str, Any], a: Any, b: Any) -> Any:
    """Whole numbers are cut towards zero; these are never negative."""
    return a // b if np.issubdtype(a.dtype, np.integer) else a / b


def _split_sizes(how: Mapping[str, Any], length: int, sizes: Value) -> list[int]:
    if sizes is not None:
        return _ints(sizes)
    count = how["num_outputs"]
    each = -(-length // count)
    return [min(each, length - i * each) for i in range(count)]


def _split_numbers(how: Mapping[str, Any], x: Any, sizes: Value = None) -> list[Any]:
    parts = _split_sizes(how, len(x), sizes)
    return list(np.split(x, np.cumsum(parts)[:-1]))


def _squeeze_numbers(how: Mapping[str, Any], x: Any, axes: Value = None) -> Any:
    return np.squeeze(x, None if axes is None else tuple(_ints(axes)))


NUMBERS: dict[str, Callable[..., Any]] = {
    "Add": lambda how, a, b: a + b,
    "Sub": lambda how, a, b: a - b,
    "Mul": lambda how, a, b: a * b,
    "Div": _divide,
    "Mod": lambda how, a, b: np.mod(a, b),
    "Min": lambda how, a, b: np.minimum(a, b),
    "Max": lambda how, a, b: np.maximum(a, b),
    "Less": lambda how, a, b: a < b,
    "GreaterOrEqual": lambda how, a, b: a >= b,
    "Equal": lambda how, a, b: a == b,
    "And": lambda how, a, b: a & b,
    "Not": lambda how, a: ~a,
    "Cast": lambda how, a: a.astype(_CAST[how["to"]]),
    "Concat": lambda how, *parts: np.concatenate([np.atleast_1d(part) for part in parts]),
    "Reshape": lambda how, a, to: a.reshape(_ints(to)),
    "Squeeze": _squeeze_numbers,
    "Unsqueeze": lambda how, a, axes: np.expand_dims(a, tuple(_ints(axes))),
    "Split": _split_numbers,
    "Gather": lambda how, a, index: np.take(a, index, how.get("axis", 0)),
    "Range": lambda how, a, b, step: np.arange(int(a), int(b), int(step)),
    "Shape": _shape,
    "Identity": lambda how, a: a,
    "ReduceSum": lambda how, a, axes: a.sum(tuple(_ints(axes)), keepdims=True),
    "ConstantOfShape": lambda how, to: np.zeros(_ints(to), np.float32),
    "Expand": lambda how, a, to: np.broadcast_to(a, _ints(to)).copy(),
}


def _reshape(how: Mapping[str, Any], x: Any, to: Value) -> Any:
    wanted = _ints(to)
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(wanted)])


def _slice(how: Mapping[str, Any], x: Any, begin: Value, end: Value, axes: Value) -> Any:
    for first, last, axis in zip(_ints(begin), _ints(end), _ints(axes), strict=True):
        length = x.shape[axis]
        stop = min(last, length) if last >= 0 else length + last
        x = x.narrow(axis, min(first, length), max(0, stop - first))
    return x


def _unsqueeze(how: Mapping[str, Any], x: Any, axes: Value) -> Any:
    rank = x.dim() + len(_ints(axes))
    for axis in sorted(axis % rank for axis in _ints(axes)):
        x = x.unsqueeze(axis)
    return x


def _squeeze(how: Mapping[str, Any], x: Any, axes: Value = None) -> Any:
    return x.squeeze() if axes is None else x.squeeze(tuple(_axes(how, axes, x.dim())))


def _gather(how: Mapping[str, Any], x: Any, index: Any) -> Any:
    axis = how.get("axis", 0) % x.dim()
    picked = x.index_select(axis, index.reshape(-1))
    return picked.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _gather_rows(how: Mapping[str, Any], x: Any, index: Any) -> Any:
    """GatherND with one batch dimension and an index of one number."""
    import torch

    batches = torch.arange(x.shape[0], device=x.device)[:, None]
    return x[batches, index[..., 0]]


def _pad(how: Mapping[str, Any], x: Any, pads: Value) -> Any:
    import torch

    sizes, rank = _ints(pads), x.dim()
    pairs = [size for i in reversed(range(rank)) for size in (sizes[i], sizes[rank + i])]
    return torch.nn.functional.pad(x, pairs)


def _top(how: Mapping[str, Any], x: Any, count: Value) -> Any:
    found = x.topk(_ints(count)[0], how.get("axis", -1))
    return found.values, found.indices


def _scatter(how: Mapping[str, Any], x: Any, index: Any, update: Any) -> Any:
    return x.scatter(how["axis"], index, update.to(x.dtype))


def _torch(name: str) -> Callable[..., Any]:
    """A function of two tensors."""

    def call(how: Mapping[str, Any], *given: Any) -> Any:
        import torch

        return getattr(torch, name)(*given)

    return call


def _cast(how: Mapping[str, Any], x: Any) -> Any:
    """Floating types stay as they are: the whole body is of the kernel's precision."""
    import torch

    kind = _CAST[how["to"]]
    return x.to(getattr(torch, kind)) if "float" not in kind else x


def _reduce(name: str, **more: Any) -> Callable[..., Any]:
    def call(how: Mapping[str, Any], x: Any, axes: Value = None) -> Any:
        keep = bool(how.get("keepdims", 1))
        import torch

        function = torch.linalg.vector_norm if name == "norm" else getattr(torch, name)
        return function(x, dim=_axes(how, axes, x.dim()), keepdim=keep)

    return call


def _split(how: Mapping[str, Any], x: Any, sizes: Value = None) -> Sequence[Any]:
    axis = how.get("axis", 0)
    found: Sequence[Any] = x.split(_split_sizes(how, x.shape[axis], sizes), axis)
    return found


def _concat(how: Mapping[str, Any], *parts: Any) -> Any:
    import torch

    return torch.cat(parts, how["axis"])


#: Their numbers are sizes, places or counts.
SIZED = frozenset(
    {
        "Reshape",
        "Slice",
        "Unsqueeze",
        "Squeeze",
        "Pad",
        "TopK",
        "ReduceSum",
        "ReduceMean",
        "ReduceL2",
        "Split",
        "Expand",
        "Shape",
        "Transpose",
        "Softmax",
        "ConstantOfShape",
    }
)
TENSORS: dict[str, Callable[..., Any]] = {
    "Add": _torch("add"),
    "Sub": _torch("sub"),
    "Mul": _torch("mul"),
    "Div": _torch("div"),
    "MatMul": _torch("matmul"),
    "Max": _torch("maximum"),
    "Min": _torch("minimum"),
    "Less": _torch("lt"),
    "Greater": _torch("gt"),
    "GreaterOrEqual": _torch("ge"),
    "Equal": _torch("eq"),
    "And": _torch("logical_and"),
    "Or": _torch("logical_or"),
    "Not": _torch("logical_not"),
    "Where": _torch("where"),
    "Clip": _torch("clamp"),
    "Identity": lambda how, x: x,
    "Cast": _cast,
    "Concat": _concat,
    "Reshape": _reshape,
    "Slice": _slice,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Split": _split,
    "Gather": _gather,
    "GatherND": _gather_rows,
    "Pad": _pad,
    "TopK": _top,
    "ScatterElements": _scatter,
    "Shape": _shape,
    "Transpose": lambda how, x: x.permute(*how["perm"]),
    "Softmax": lambda how, x: x.softmax(how.get("axis", -1)),
    "ReduceSum": _reduce("sum"),
    "ReduceMean": _reduce("mean"),
    "ReduceL2": _reduce("norm"),
}
