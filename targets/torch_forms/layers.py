"""Standard operators that bodies do not have: layers, activations, further arithmetic.

A constant of one number comes as a Python number, sizes and places as NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attnc.targets.torch_forms.common import How, conv
from attnc.targets.torch_forms.standard import SIZED, TENSORS

Form = Callable[..., Any]


def _conv(how: How, x: Any, weight: Any, bias: Any = None) -> Any:
    if how.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotImplementedError(f"auto_pad {how['auto_pad']}")
    keys = ("strides", "pads", "dilations", "group")
    return conv(x, weight, bias, **{key: how[key] for key in keys if key in how})


def _gemm(how: How, a: Any, b: Any, c: Any = None) -> Any:
    a = a.transpose(0, 1) if how.get("transA") else a
    b = b.transpose(0, 1) if how.get("transB") else b
    product = a.matmul(b) * how.get("alpha", 1.0)
    return product if c is None else product + c * how.get("beta", 1.0)


def _layer_norm(how: How, x: Any, gamma: Any, beta: Any = None) -> Any:
    import torch.nn.functional as F

    shape = x.shape[how.get("axis", -1) % x.dim() :]
    return F.layer_norm(x, shape, gamma, beta, how.get("epsilon", 1e-5))


def _batch_norm(how: How, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    import torch.nn.functional as F

    return F.batch_norm(x, mean, variance, gamma, beta, eps=how.get("epsilon", 1e-5))


def _instance_norm(how: How, x: Any, gamma: Any, beta: Any) -> Any:
    import torch.nn.functional as F

    return F.instance_norm(x, weight=gamma, bias=beta, eps=how.get("epsilon", 1e-5))


def _pool(name: str) -> Form:
    def call(how: How, x: Any) -> Any:
        import torch.nn.functional as F

        pads = list(how.get("pads", [0, 0, 0, 0]))
        if pads[:2] != pads[2:] or how.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise NotImplementedError("uneven padding")
        window, steps = list(how["kernel_shape"]), list(how.get("strides", [1, 1]))
        ceil = bool(how.get("ceil_mode", 0))
        if name == "max":
            spread = list(how.get("dilations", [1, 1]))
            return F.max_pool2d(x, window, steps, pads[:2], spread, ceil)
        padding = bool(how.get("count_include_pad", 0))
        return F.avg_pool2d(x, window, steps, pads[:2], ceil, padding)

    return call


def _clip(how: How, x: Any, low: Any = None, high: Any = None) -> Any:
    return x.clamp(low, high)


def _softmax(how: How, x: Any) -> Any:
    return x.softmax(how.get("axis", -1))


def _transpose(how: How, x: Any) -> Any:
    return x.permute(*how.get("perm", range(x.dim())[::-1]))


def _slice(how: How, x: Any, begin: Any, end: Any, axes: Any = None, steps: Any = None) -> Any:
    places = range(len(begin)) if axes is None else [int(axis) for axis in axes]
    strides = [1] * len(begin) if steps is None else [int(step) for step in steps]
    if min(strides) < 1:
        raise NotImplementedError("a slice that runs backwards")
    cuts = [slice(None)] * x.dim()
    for axis, first, last, step in zip(places, begin, end, strides, strict=True):
        cuts[axis] = slice(*slice(int(first), int(last), step).indices(x.shape[axis]))
    return x[tuple(cuts)]


def _gather(how: How, x: Any, index: Any) -> Any:
    """A constant place is cut out; only the rest is gathered."""
    axis = how.get("axis", 0) % x.dim()
    if isinstance(index, np.ndarray) and index.ndim == 0:
        return x.select(axis, int(index))
    if isinstance(index, np.ndarray):
        import torch

        index = torch.from_numpy(index.astype(np.int64))
    return TENSORS["Gather"](how, x, index)


def _extreme(name: str) -> Form:
    def call(how: How, x: Any, y: Any) -> Any:
        import torch

        x, y = (y, x) if isinstance(x, float) else (x, y)
        if isinstance(y, float):
            return x.clamp(min=y) if name == "maximum" else x.clamp(max=y)
        return getattr(torch, name)(x, y)

    return call


def _gelu(how: How, x: Any) -> Any:
    import torch.nn.functional as F

    return F.gelu(x, approximate=how.get("approximate", "none"))


def _hard_sigmoid(how: How, x: Any) -> Any:
    return (x * how.get("alpha", 0.2) + how.get("beta", 0.5)).clamp(0.0, 1.0)


def _where(how: How, mask: Any, x: Any, y: Any) -> Any:
    import torch

    return torch.where(mask, x, y)


def _method(name: str, *arguments: Any) -> Form:
    return lambda how, x: getattr(x, name)(*arguments)


_EXTREMES = {"ReduceMax": "amax", "ReduceMin": "amin"}


def _reduce_extreme(name: str) -> Form:
    def call(how: How, x: Any, axes: Any = None) -> Any:
        given = how.get("axes") if axes is None else axes
        places = tuple(range(x.dim()) if given is None else map(int, given))
        return getattr(x, name)(places, keepdim=bool(how.get("keepdims", 1)))

    return call


#: Inputs from the second on that are sizes, places or counts.
PLACED = SIZED | {*_EXTREMES, "Tile", "Gather"}

OPERATORS: dict[str, Form] = {
    **TENSORS,
    "Add": lambda how, x, y: x + y,
    "Sub": lambda how, x, y: x - y,
    "Mul": lambda how, x, y: x * y,
    "Div": lambda how, x, y: x / y,
    "Pow": lambda how, x, y: x**y,
    "Max": _extreme("maximum"),
    "Min": _extreme("minimum"),
    "Clip": _clip,
    "Where": _where,
    "Conv": _conv,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "AveragePool": _pool("avg"),
    "MaxPool": _pool("max"),
    "GlobalAveragePool": _method("mean", (2, 3), True),
    "Softmax": _softmax,
    "Transpose": _transpose,
    "Slice": _slice,
    "Gather": _gather,
    "Flatten": lambda how, x: x.flatten(how.get("axis", 1)),
    "Expand": lambda how, x, to: x.expand(np.broadcast_shapes(tuple(x.shape), tuple(to))),
    "Tile": lambda how, x, times: x.repeat(*map(int, times)),
    "Gelu": _gelu,
    "Relu": _method("relu"),
    "Sigmoid": _method("sigmoid"),
    "Tanh": _method("tanh"),
    "Erf": _method("erf"),
    "Exp": _method("exp"),
    "Log": _method("log"),
    "Sqrt": _method("sqrt"),
    "Neg": _method("neg"),
    "Abs": _method("abs"),
    "Reciprocal": _method("reciprocal"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda how, x: x * ((x + 3).clamp(0.0, 6.0) / 6),
    **{name: _reduce_extreme(method) for name, method in _EXTREMES.items()},
}
