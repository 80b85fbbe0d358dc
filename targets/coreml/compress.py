"""Smaller weights, by coremltools.optimize: int8 with a scale per channel, or palettes.

Only the stored weights shrink; arithmetic is that of the float16 program. Its passes run with the
conversion. `linear_quantize_weights` and `palettize_weights`, which take a finished model, would
read it back and optimise it as coremltools optimises programs that it does not know.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from attnc.compiler.errors import MissingRuntimeError, UnsupportedError

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Program

#: The first one with compressed constants.
LEAST_IOS = 16
#: Tensors of fewer elements stay as they are: biases, norms, small convolutions.
LEAST_ELEMENTS = 2048


def _int8() -> Any:
    from coremltools.optimize.coreml import OpLinearQuantizerConfig

    return OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", weight_threshold=LEAST_ELEMENTS
    )


def _palette(bits: int) -> Callable[[], Any]:
    def configured() -> Any:
        from coremltools.optimize.coreml import OpPalettizerConfig

        return OpPalettizerConfig(
            mode="kmeans", nbits=bits, weight_threshold=LEAST_ELEMENTS, num_kmeans_workers=1
        )

    return configured


#: How each precision stores its weights: coremltools' pass, and what it is told.
COMPRESSIONS: dict[str, tuple[str, Callable[[], Any]]] = {
    "int8w": ("compression::linear_quantize_weights", _int8),
    "pal8w": ("compression::palettize_weights", _palette(8)),
    "pal6w": ("compression::palettize_weights", _palette(6)),
    "pal4w": ("compression::palettize_weights", _palette(4)),
}


def check_compression(precision: str, ios: int) -> None:
    """Raise UnsupportedError where this iOS has no compressed constants, and MissingRuntimeError
    where what makes palettes is not installed."""
    if precision in COMPRESSIONS and ios < LEAST_IOS:
        raise UnsupportedError(
            f"iOS {ios} has no compressed weights, which {precision} asks for",
            remedy=f"a profile of iOS {LEAST_IOS} or newer, or --precision fp16",
        )
    if precision.startswith("pal") and importlib.util.find_spec("sklearn") is None:
        raise MissingRuntimeError(
            "coremltools makes palettes with scikit-learn, which is not installed",
            remedy="pip install 'attnc[coreml]', or --precision int8w",
        )


def add_compression(pipeline: Any, precision: str, program: Program) -> None:
    """Let a PassPipeline end with the pass that stores the program's weights as `precision` says.

    fp16 and fp32 stay as they are, and so do constants with infinities, such as masks.
    """
    if precision not in COMPRESSIONS:
        return
    from coremltools.optimize.coreml import OptimizationConfig

    name, configured = COMPRESSIONS[precision]
    config = OptimizationConfig(global_config=configured())
    for operation in program.functions["main"].operations:
        if operation.op_type == "const" and not _finite(operation.outputs[0].val):
            config.set_op_name(operation.name, None)
    pipeline.append_pass(name)
    pipeline.set_options(name, {"config": config})


def _finite(value: Any) -> bool:
    array = np.asarray(value)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
