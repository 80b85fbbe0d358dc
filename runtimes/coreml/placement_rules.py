"""The rules of the placement lint: what each looks for, what it costs, and who says so.

Apple does not publish what the Neural Engine takes, and it changes with chip and system; most of
what is known was found out by others. `basis` keeps the two apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from attnc.runtimes.coreml import placement_operations as kinds
from attnc.runtimes.coreml import placement_shapes as shapes
from attnc.runtimes.coreml.graph import Graph
from attnc.runtimes.coreml.program import Operation

Check: TypeAlias = Callable[[Operation, Graph], Iterator[str]]

TRANSFORMERS = "https://machinelearning.apple.com/research/neural-engine-transformers"
ATTENTION_CODE = (
    "https://github.com/apple/ml-ane-transformers/blob/main/"
    "ane_transformers/reference/multihead_attention.py"
)
VISION_CODE = (
    "https://github.com/apple/ml-vision-transformers-ane/blob/main/"
    "vision_transformers/attention_utils.py"
)
TYPED_EXECUTION = "https://apple.github.io/coremltools/docs-guides/source/typed-execution.html"
RECURRENT_ISSUE = "https://github.com/apple/coremltools/issues/1780"
GATHER_ISSUE = "https://github.com/apple/coremltools/issues/1103"
DETECTION_PLAN = "https://github.com/roboflow/rf-detr/pull/1495"
LAYERS = "https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md"
GUIDE = "https://ane-guide.readthedocs.io/en/latest/"
CAPABILITIES = GUIDE + "part-1-machine/04-capability-surface.html"
DESIGN = GUIDE + "part-5-practice/17-model-design-rules.html"
PITFALLS = GUIDE + "part-5-practice/19-pitfalls-and-limits.html"
MATRIX = GUIDE + "appendices/a-op-device-matrix.html"


@dataclass(frozen=True)
class Rule:
    """One rule; `effect`: the operation leaves the Neural Engine, or costs more than it need.

    `basis` is "Apple" where Apple says so, "reported" where others measured or concluded it.
    """

    name: str
    effect: Literal["leaves", "costs"]
    basis: Literal["Apple", "reported"]
    description: str
    sources: tuple[str, ...]
    check: Check


RULES: tuple[Rule, ...] = (
    Rule(
        "float32",
        "leaves",
        "Apple",
        "float32 operations never run on the Neural Engine",
        (TYPED_EXECUTION,),
        kinds.float32,
    ),
    Rule(
        "integer-arithmetic",
        "leaves",
        "reported",
        "the data path is fp16; operations on computed int32 indices were seen on the CPU",
        (DESIGN, DETECTION_PLAN),
        kinds.integers,
    ),
    Rule(
        "large-dimension",
        "leaves",
        "reported",
        "height and width end at 16384 before A16, channels at 65536",
        (DESIGN, MATRIX),
        shapes.large_dimension,
    ),
    Rule(
        "dynamic-gather",
        "leaves",
        "reported",
        "gathers by computed indices were seen on the CPU",
        (DETECTION_PLAN, LAYERS),
        kinds.dynamic_gather,
    ),
    Rule(
        "constant-gather",
        "leaves",
        "reported",
        "gathers by constant indices were seen on the CPU; disputed from A14 on",
        (GATHER_ISSUE, LAYERS, MATRIX),
        kinds.constant_gather,
    ),
    Rule(
        "scatter",
        "leaves",
        "reported",
        "the scatter family has no path on any chip",
        (CAPABILITIES,),
        kinds.scatter,
    ),
    Rule(
        "topk-sort",
        "leaves",
        "reported",
        "topk was seen on the CPU; ranking and sorting have no path before A14",
        (DETECTION_PLAN, MATRIX),
        kinds.ranking,
    ),
    Rule(
        "long-argmax",
        "leaves",
        "reported",
        "the index of the largest value is found along 2048 values at most",
        (DESIGN,),
        kinds.long_argument,
    ),
    Rule(
        "no-hardware-path",
        "leaves",
        "reported",
        "operations without a path to the hardware, on any chip or before A15",
        (CAPABILITIES, MATRIX),
        kinds.no_path,
    ),
    Rule(
        "texture-sampling",
        "leaves",
        "reported",
        "resizing and sampling have no hardware path before A14",
        (CAPABILITIES, MATRIX),
        kinds.sampling,
    ),
    Rule(
        "padding",
        "leaves",
        "reported",
        "only height and width are padded; other modes than constant not before A14",
        (DESIGN, MATRIX),
        kinds.padding,
    ),
    Rule(
        "recurrent",
        "leaves",
        "Apple",
        "recurrent cells do not run on the Neural Engine",
        (RECURRENT_ISSUE, CAPABILITIES),
        kinds.recurrent,
    ),
    Rule(
        "control-flow",
        "leaves",
        "reported",
        "branches, loops and lists are not compiled for the Neural Engine",
        (MATRIX,),
        kinds.control_flow,
    ),
    Rule(
        "dynamic-weights",
        "leaves",
        "reported",
        "convolutions by computed weights fail above a batch of one",
        (PITFALLS,),
        kinds.dynamic_weights,
    ),
    Rule(
        "large-kernel",
        "leaves",
        "reported",
        "kernels of convolutions end at 13 wide in fp16 (16 from A14) and 29 high",
        (DESIGN, MATRIX),
        kinds.large_kernel,
    ),
    Rule(
        "three-dimensional-convolution",
        "leaves",
        "reported",
        "convolutions over three axes are not compiled on any chip",
        (CAPABILITIES,),
        kinds.deep_kernel,
    ),
    Rule(
        "dilated-convolution",
        "leaves",
        "reported",
        "dilated convolutions do not run there; disputed: native by later measurements",
        (LAYERS, CAPABILITIES),
        kinds.dilation,
    ),
    Rule(
        "cast-in-the-middle",
        "costs",
        "Apple",
        "a cast from or to float32 inside the program: its float32 side runs elsewhere",
        (TYPED_EXECUTION,),
        kinds.border,
    ),
    Rule(
        "rank-over-4",
        "costs",
        "Apple",
        "tensors of rank 5; four axes, channels first, suit the Neural Engine best",
        (TRANSFORMERS,),
        shapes.rank_over_4,
    ),
    Rule(
        "large-softmax",
        "costs",
        "reported",
        "Apple chunks attention by heads to stay on the chip, which is said to hold 2 MB",
        (DESIGN, TRANSFORMERS),
        shapes.large_softmax,
    ),
    Rule(
        "softmax-other-axis",
        "costs",
        "Apple",
        "Apple's reference attention takes the softmax along the channels of rank 4",
        (ATTENTION_CODE, VISION_CODE),
        shapes.softmax_axis,
    ),
    Rule(
        "many-splits",
        "costs",
        "reported",
        "from about twelve parallel branches the compiler's search for a partition gives up",
        (PITFALLS,),
        kinds.branches,
    ),
    Rule(
        "layout-copy",
        "costs",
        "Apple",
        "transposes and reshapes are likely to copy, as the last axis is not packed",
        (TRANSFORMERS,),
        shapes.layout_copy,
    ),
    Rule(
        "linear-layer",
        "costs",
        "Apple",
        "linear layers are channels last; a 1x1 convolution keeps the layout that suits",
        (TRANSFORMERS,),
        kinds.linear,
    ),
    Rule(
        "singleton-inner-dimension",
        "costs",
        "Apple",
        "a last axis of one value is padded to 64 bytes, 32 times its memory in fp16",
        (TRANSFORMERS,),
        shapes.singleton_inner,
    ),
    Rule(
        "odd-inner-dimension",
        "costs",
        "Apple",
        "the last axis is aligned to 64 bytes, 32 values in fp16; the rest is padding",
        (TRANSFORMERS,),
        shapes.odd_inner,
    ),
)
