"""The standard operators that the web engine executes; `attnc` ones it takes as the CPU does."""

from __future__ import annotations

ELEMENTWISE = (
    *("Abs", "Add", "And", "Cast", "Ceil", "Clip", "Div", "Equal", "Erf", "Exp", "Floor", "Gelu"),
    *("Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual"),
    *("Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Round"),
    *("Sigmoid", "Sqrt", "Sub", "Tanh", "Where"),
)
SHAPES = (
    *("Concat", "Expand", "Flatten", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze"),
    *("Tile", "Transpose", "Unsqueeze"),
)
REDUCTIONS = (
    *("ArgMax", "CumSum", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    "ReduceSum",
)
MATRICES = (
    *("BatchNormalization", "Gemm", "GroupNormalization", "InstanceNormalization"),
    *("LayerNormalization", "LogSoftmax", "MatMul", "Softmax"),
)
SELECTIONS = (
    *("Gather", "GatherElements", "GatherND", "OneHot", "Range", "ScatterElements", "ScatterND"),
    *("TopK", "Trilu"),
)
CONVOLUTIONS = ("AveragePool", "Conv", "GlobalAveragePool", "MaxPool")
STANDARD = frozenset((*ELEMENTWISE, *SHAPES, *REDUCTIONS, *MATRICES, *SELECTIONS, *CONVOLUTIONS))

#: Operators whose result is their first input's memory under another shape.
ALIASES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})

#: Operators of numbers that take float32 only.
FLOATS_ONLY = frozenset(
    (
        *MATRICES,
        *CONVOLUTIONS,
        *("Abs", "ArgMax", "Ceil", "Clip", "CumSum", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid"),
        *("HardSwish", "LeakyRelu", "Log", "Neg", "Pad", "Reciprocal", "Relu", "Round", "Sigmoid"),
        *("Sqrt", "Tanh", "TopK", "Trilu"),
    )
)
#: The number of dimensions that an operator's first input must have, where not any will do.
RANKS = {"Conv": (4, 4), "MaxPool": (4, 4), "AveragePool": (4, 4), "MatMul": (2, 8)}
