"""Layers on the last axis, with what is fused to them."""

from __future__ import annotations

from typing import Any

from attnc.targets.torch_forms.common import How, bounded


def norm(x: Any, epsilon: float) -> Any:
    """Over the last axis; scale and shift are in the weights that follow."""
    import torch.nn.functional as F

    return F.layer_norm(x, x.shape[-1:], eps=epsilon)


def layer(x: Any, weight: Any, bias: Any) -> Any:
    """x W^T + b"""
    import torch.nn.functional as F

    return F.linear(x, weight, bias)


def gelu(x: Any) -> Any:
    """Exact GELU."""
    import torch.nn.functional as F

    return F.gelu(x)


def linear(how: How, x: Any, weight: Any, bias: Any) -> Any:
    """layer -> clamp"""
    return bounded(how, layer(x, weight, bias))


def linear_add(how: How, x: Any, weight: Any, bias: Any, residual: Any) -> Any:
    """layer -> add r -> clamp"""
    return bounded(how, layer(x, weight, bias) + residual)


def linear_gelu(how: How, x: Any, weight: Any, bias: Any) -> Any:
    """layer -> gelu"""
    return gelu(layer(x, weight, bias))


def norm_linear(how: How, x: Any, weight: Any, bias: Any) -> Any:
    """norm -> layer"""
    return layer(norm(x, how["epsilon"]), weight, bias)


def norm_linear_gelu(how: How, x: Any, weight: Any, bias: Any) -> Any:
    """norm -> layer -> gelu"""
    return gelu(norm_linear(how, x, weight, bias))


def mlp(how: How, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """x + layer(gelu(layer(norm x)))"""
    return x + layer(norm_linear_gelu(how, x, w1, b1), w2, b2)


FORMS = {
    "Linear": linear,
    "LinearAdd": linear_add,
    "LinearGelu": linear_gelu,
    "NormLinear": norm_linear,
    "NormLinearGelu": norm_linear_gelu,
    "Mlp": mlp,
}
