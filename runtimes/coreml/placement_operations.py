"""Checks of the placement lint that look at what an operation does, not at its layout.

Each yields one text per breach; `placement_rules` says what they mean and who says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attnc.runtimes.coreml.graph import Graph, is_constant
from attnc.runtimes.coreml.program import Operation, TensorType

GATHERS = ("gather", "gather_along_axis", "gather_nd")
SCATTERS = ("scatter", "scatter_along_axis", "scatter_nd")
RANKINGS = ("topk", "argsort", "non_maximum_suppression")
ARGUMENTS = ("reduce_argmax", "reduce_argmin")
RECURRENT = ("gru", "lstm", "rnn")
LISTS = ("list_gather", "list_length", "list_read", "list_scatter", "list_write", "make_list")
CONTROL = ("cond", "while_loop", *LISTS)
CONVOLUTIONS = ("conv", "conv_transpose", "conv_quantized")
SAMPLING = (
    *("resize", "resize_bilinear", "resize_nearest_neighbor"),
    *("upsample_bilinear", "upsample_nearest_neighbor"),
    *("crop_resize", "resample", "affine"),
)
#: Kinds without a path to the Neural Engine on any chip, and those with one on late chips only.
NO_PATH = dict.fromkeys(
    (
        *("reduce_prod", "mod", "one_hot", "non_zero", "band_part", "reverse_sequence", "shape"),
        *("sliding_windows", "logical_and", "logical_or", "logical_xor", "tan", "asin", "acos"),
        *("atanh", "sinh", "cosh", "random_bernoulli", "random_categorical", "random_normal"),
    ),
    "on any chip",
) | dict.fromkeys(("sin", "cos", "random_uniform"), "before A15")
WIDE_INTEGERS = ("int32", "uint32", "int64", "uint64")
#: The longest axis over which the largest value's index is found.
LONGEST_ARGUMENT = 2048
#: The largest kernel of a convolution in fp16, on the oldest chips that are still counted.
KERNEL_HEIGHT, KERNEL_WIDTH = 29, 13
#: From so many branches on, the search for a good partition is said to give up.
MANY_BRANCHES = 12


def dynamic_gather(operation: Operation, graph: Graph) -> Iterator[str]:
    """Picks entries by indices that are computed."""
    if operation.type in GATHERS and graph.given(operation, "indices"):
        yield "the indices are computed"


def constant_gather(operation: Operation, graph: Graph) -> Iterator[str]:
    """Picks entries by indices that are known."""
    if operation.type in GATHERS and not graph.given(operation, "indices"):
        yield f"{np.size(graph.constant(operation, 'indices', ()))} constant indices"


def scatter(operation: Operation, _: Graph) -> Iterator[str]:
    """Writes entries by indices."""
    if operation.type in SCATTERS:
        yield "writes by indices"


def ranking(operation: Operation, graph: Graph) -> Iterator[str]:
    """Sorts, or finds the largest."""
    if operation.type in RANKINGS:
        k = graph.constant(operation, "k")
        yield "sorts" if k is None else f"the best {int(k)}"


def long_argument(operation: Operation, graph: Graph) -> Iterator[str]:
    """Finds the index of the largest value along a long axis."""
    given = graph.input_type(operation, "x")
    if operation.type in ARGUMENTS and given is not None:
        size = given.shape[int(graph.constant(operation, "axis", -1))]
        if isinstance(size, int) and size > LONGEST_ARGUMENT:
            yield f"along {size} values"


def recurrent(operation: Operation, _: Graph) -> Iterator[str]:
    """Recurrent cells."""
    if operation.type in RECURRENT:
        yield "a recurrent cell"


def control_flow(operation: Operation, _: Graph) -> Iterator[str]:
    """Branches, loops and lists."""
    if operation.type in CONTROL:
        yield "a list" if operation.type in LISTS else f"{len(operation.blocks)} nested blocks"


def no_path(operation: Operation, _: Graph) -> Iterator[str]:
    """Kinds that have no path."""
    if operation.type in NO_PATH:
        yield f"no path {NO_PATH[operation.type]}"


def sampling(operation: Operation, _: Graph) -> Iterator[str]:
    """Resizes or samples a picture."""
    if operation.type in SAMPLING:
        yield "before A14"


def padding(operation: Operation, graph: Graph) -> Iterator[str]:
    """Pads by other values than a constant, or an axis that is neither height nor width."""
    if operation.type != "pad":
        return
    mode = str(graph.constant(operation, "mode", "constant"))
    amounts = np.reshape(graph.constant(operation, "pad", ()), -1)
    if mode != "constant":
        yield f"mode {mode}"
    if len(amounts) > 4 and np.any(amounts[:-4]):
        yield "pads an axis before the last two"


def float32(operation: Operation, _: Graph) -> Iterator[str]:
    """Computes in float32; a cast to it is a matter of borders."""
    if operation.type != "cast" and "fp32" in dtypes(operation):
        yield "computes in fp32"


def integers(operation: Operation, _: Graph) -> Iterator[str]:
    """Computes wide integers; those that rank or find say so themselves."""
    known = ("cast", *RANKINGS, *ARGUMENTS, *NO_PATH)
    wide = [dtype for dtype in dtypes(operation) if dtype in WIDE_INTEGERS]
    if wide and operation.type not in known:
        yield f"computes in {wide[0]}"


def border(operation: Operation, graph: Graph) -> Iterator[str]:
    """A cast from or to float32 that is not at an input or output of the program."""
    if operation.type != "cast":
        return
    given, target = graph.input_type(operation, "x"), dtypes(operation)
    pair = (given.dtype if given else "?", target[0])
    names = {argument.name for argument in operation.inputs["x"]}
    names |= {value.name for value in operation.outputs}
    if "fp32" in pair and not names & (graph.inputs | graph.outputs):
        yield f"{pair[0]} to {pair[1]}"


def dynamic_weights(operation: Operation, graph: Graph) -> Iterator[str]:
    """A convolution whose weights are computed."""
    if operation.type in CONVOLUTIONS and graph.given(operation, "weight"):
        yield "the weights are computed"


def large_kernel(operation: Operation, graph: Graph) -> Iterator[str]:
    """A convolution with a kernel that is too high or too wide."""
    kernel = kernel_size(operation, graph)
    if len(kernel) == 2 and (kernel[0] > KERNEL_HEIGHT or kernel[1] > KERNEL_WIDTH):
        yield f"kernel {kernel[0]}x{kernel[1]}"


def deep_kernel(operation: Operation, graph: Graph) -> Iterator[str]:
    """A convolution over three axes."""
    if len(kernel_size(operation, graph)) > 2:
        yield "three-dimensional"


def dilation(operation: Operation, graph: Graph) -> Iterator[str]:
    """A convolution with gaps in its kernel."""
    rates = np.reshape(graph.constant(operation, "dilations", ()), -1)
    if operation.type in CONVOLUTIONS and np.any(rates > 1):
        yield f"dilations {rates.tolist()}"


def linear(operation: Operation, _: Graph) -> Iterator[str]:
    """A linear layer that is not written as a convolution."""
    if operation.type == "linear":
        yield "a 1x1 convolution does the same, channels first"


def branches(operation: Operation, graph: Graph) -> Iterator[str]:
    """Many results that part here or meet here."""
    count = max(_parting(operation, graph), _meeting(operation, graph))
    if count >= MANY_BRANCHES:
        yield f"{count} branches"


def kernel_size(operation: Operation, graph: Graph) -> tuple[int, ...]:
    """The sizes of a convolution's kernel, empty where they are not known."""
    weight = graph.constant(operation, "weight")
    given = graph.input_type(operation, "weight")
    shape = np.shape(weight) if weight is not None else (given.fixed or ()) if given else ()
    return tuple(shape[2:]) if operation.type in CONVOLUTIONS else ()


def dtypes(operation: Operation) -> list[str]:
    """The data types of an operation's results."""
    types = (value.type for value in operation.outputs)
    return [type_.dtype for type_ in types if isinstance(type_, TensorType)]


def _parting(operation: Operation, graph: Graph) -> int:
    """Results of a split, or slices taken of this operation's results."""
    if operation.type == "split":
        return len(operation.outputs)
    readers = (reader for value in operation.outputs for reader in graph.readers[value.name])
    return len({reader.name for reader in readers if reader.type.startswith("slice_by")})


def _meeting(operation: Operation, graph: Graph) -> int:
    """Computed parts that a concatenation joins."""
    if operation.type not in ("concat", "stack"):
        return 0
    producers = (graph.producers.get(each.name) for each in operation.inputs.get("values", ()))
    return sum(producer is not None and not is_constant(producer) for producer in producers)
