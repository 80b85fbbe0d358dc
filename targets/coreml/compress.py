"""Smaller weights, by coremltools.optimize: int8 with a scale per channel, or palettes.

Only the stored weights shrink; arithmetic is that of the float16 program. Its passes run with the
conversion. `linear_quantize_weights` and `palettize_weights`, which take a finished model, would
read it back and optimise it as coremltools optimises programs that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def add_compression(pipeline: Any, precision: str) -> None:
    """Let a PassPipeline end with the pass that stores weights as `precision` says.

    fp16 and fp32 stay as they are.
    """
    if precision not in COMPRESSIONS:
        return
    from coremltools.optimize.coreml import OptimizationConfig

    name, configured = COMPRESSIONS[precision]
    pipeline.append_pass(name)
    pipeline.set_options(name, {"config": OptimizationConfig(global_config=configured())})
