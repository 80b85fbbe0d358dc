"""Which function lowers which operator, in one place.

LAYOUT functions work on the form that is at hand and return False where they cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir

from attnc.targets.coreml import layout
from attnc.targets.coreml.forms import Forms
from attnc.targets.coreml.fused import (
    attention,
    convolutions,
    linear,
    single_head,
    slots,
    sparse,
    tokens,
    window,
)
from attnc.targets.coreml.standard import (
    activations,
    building,
    einsum,
    elementwise,
    gathering,
    layers,
    padding,
    reductions,
    resizing,
    shapes,
    windows,
)

Lowering = Callable[[ir.Node, Forms], Any]

FUSED: Mapping[str, Lowering] = {
    **convolutions.OPERATORS,
    **linear.OPERATORS,
    **attention.OPERATORS,
    **tokens.OPERATORS,
    **slots.OPERATORS,
    **single_head.OPERATORS,
    **window.OPERATORS,
    **sparse.OPERATORS,
}
LAYOUT: Mapping[str, Lowering] = layout.OPERATORS
STANDARD: Mapping[str, Lowering] = {
    **elementwise.OPERATORS,
    **activations.OPERATORS,
    **layers.OPERATORS,
    **einsum.OPERATORS,
    **windows.OPERATORS,
    **resizing.OPERATORS,
    **reductions.OPERATORS,
    **shapes.OPERATORS,
    **padding.OPERATORS,
    **building.OPERATORS,
    **gathering.OPERATORS,
}
