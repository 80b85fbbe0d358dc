"""Lets torchvision, and so timm, be imported beside a CPU build of torch.

Its compiled part wants CUDA libraries; without it the import fails for want of the operators'
schemas, and building classification models needs no more than those. Tests only, never the package.
"""

from __future__ import annotations

import importlib.util
import sys

_FORWARD = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
_OPERATORS = ("nms", "qnms", "qroi_align", *_FORWARD, *(f"_{name}_backward" for name in _FORWARD))
_keep = []


def timm_missing() -> str:
    """Why timm cannot be imported here; "" if it can."""
    for name in ("timm", "torchvision", "huggingface_hub", "yaml"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    return ""


def import_timm():
    """The module timm; call `timm_missing` first."""
    import torch

    if "torchvision" not in sys.modules and not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        for name in _OPERATORS:
            library.define(f"{name}(Tensor a) -> Tensor")
        _keep.append(library)
    import timm

    return timm
