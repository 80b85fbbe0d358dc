"""Smaller weights, by coremltools.optimize: int8 with a scale per channel, or palettes.

Only the stored weights shrink; arithmetic is that of the float16 program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attnc.targets.coreml.package import quiet

#: Tensors of fewer elements stay as they are: biases, norms, small convolutions.
LEAST_ELEMENTS = 2048


def _int8(model: Any) -> Any:
    from coremltools.optimize import coreml

    how = coreml.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", weight_threshold=LEAST_ELEMENTS
    )
    return coreml.linear_quantize_weights(model, coreml.OptimizationConfig(global_config=how))


def _palette(bits: int) -> Callable[[Any], Any]:
    def compress(model: Any) -> Any:
        from coremltools.optimize import coreml

        how = coreml.OpPalettizerConfig(
            mode="kmeans", nbits=bits, weight_threshold=LEAST_ELEMENTS, num_kmeans_workers=1
        )
        return coreml.palettize_weights(model, coreml.OptimizationConfig(global_config=how))

    return compress


#: How each precision stores its weights.
COMPRESSIONS: dict[str, Callable[[Any], Any]] = {
    "int8w": _int8,
    "pal8w": _palette(8),
    "pal6w": _palette(6),
    "pal4w": _palette(4),
}


def compress(model: Any, precision: str) -> Any:
    """An MLModel with its weights stored as `precision` says; fp16 and fp32 stay as they are."""
    if precision not in COMPRESSIONS:
        return model
    with quiet():
        return COMPRESSIONS[precision](model)
