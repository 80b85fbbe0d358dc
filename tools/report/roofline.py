"""How near the fused operators come to what this machine can do: arithmetic, or memory.

Operations and bytes are what the operators declare; the ceilings are measured in this process.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import AttncError
from attnc.compiler.ops.base import DOMAIN, Cost
from attnc.compiler.ops.registry import get
from attnc.runtimes.onnx_session import open_session, session_options
from attnc.tools.report.document import Point, Roof
from attnc.tools.report.rounding import figures
from attnc.tools.report.session_profile import Run, Timed

PRODUCTS, COPY, REPEATS = (256, 512, 1024), 1 << 24, 8  # rows and columns; floats; best of each
LEAST_US = 1.0  # below that the profiler's clock says nothing


@cache
def ceilings(threads: int) -> tuple[float, float]:
    """Most operations and most bytes per nanosecond, each the best of a few calls.

    In ONNX Runtime with so many threads, as the profile: MatMul by a constant, which is packed
    beforehand, and Neg, which reads and writes every number once. Measured once per process.
    """
    rates = []
    for side in PRODUCTS:
        square = np.ones((side, side), np.float32)
        product = _caller("MatMul", (square, square), threads)
        rates.append(2 * side**3 / _best(product))
    copy = _caller("Neg", (np.ones(COPY, np.float32),), threads)
    return max(rates) / 1e9, 2 * 4 * COPY / _best(copy) / 1e9


def _caller(
    operator: str, operands: tuple[NDArray[np.float32], ...], threads: int
) -> Callable[[], object]:
    """A call of one operator: the first operand is fed, others are constants of the model."""
    from onnx import TensorProto, helper, numpy_helper

    first, *held = operands
    names = [f"x{place}" for place in range(len(operands))]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"])],
        "ceiling",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, first.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in zip(names[1:], held, strict=True)],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    session = open_session(model.SerializeToString(), session_options(threads))
    return lambda: session.run(None, {"x0": first})


def _best(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def roof(run: Run, threads: int) -> Roof | None:
    """The fused operators of a run under the ceilings; None if it has none with a known cost."""
    groups: dict[tuple[str, str, Cost], list[Timed]] = defaultdict(list)
    for node in run.nodes:
        cost = cost_of(node)
        if cost is not None and cost.flops and cost.bytes and node.microseconds >= LEAST_US:
            groups[node.operator, _label(node), cost].append(node)
    if not groups:
        return None
    most_flops, most_bytes = ceilings(threads)
    points = [_point(*key, nodes, most_flops, most_bytes) for key, nodes in groups.items()]
    points.sort(key=lambda point: -point.microseconds)
    intensities = [point.flops_per_byte for point in points] + [most_flops / most_bytes]
    rates = [point.gigaflops for point in points] + [most_flops]
    return Roof(
        gigaflops=figures(most_flops),
        gigabytes=figures(most_bytes),
        ridge=figures(most_flops / most_bytes),
        method=(
            f"the best of {REPEATS} calls of each in the same process, in ONNX Runtime, threads: "
            f"{threads}: float32 MatMuls of {', '.join(map(str, PRODUCTS))} rows and columns, and "
            f"a Neg of {COPY} float32 values, each read once and written once. Bytes of an "
            "operator are the least that it could move; where they lie in caches, which are "
            "faster than memory, it may stand above the roof."
        ),
        points=tuple(points),
        intensity_ticks=_decades(intensities),
        rate_ticks=_decades(rates),
    )


def cost_of(node: Timed) -> Cost | None:
    """What a fused node says that it costs at the shapes it saw; None for standard operators."""
    found = node.node
    if found is None or found.domain != DOMAIN:
        return None
    seen = iter(node.shapes)
    shapes = [(0,) if value is None else next(seen, None) for value in found.inputs]
    if any(shape is None for shape in shapes):
        return None
    values = {name: attribute.value for name, attribute in found.attributes.items()}
    try:
        return get(found.op_type).cost([shape for shape in shapes if shape is not None], values)
    except (AttncError, ValueError, IndexError, KeyError):
        return None  # of an input that the profiler does not list


def _label(node: Timed) -> str:
    first = node.shapes[0] if node.shapes else ()
    last = node.results[0] if node.results else ()
    return f"{'x'.join(map(str, first))} to {'x'.join(map(str, last))}"


def _point(
    operator: str, shapes: str, cost: Cost, nodes: list[Timed], most_flops: float, most_bytes: float
) -> Point:
    spent = sum(node.microseconds for node in nodes)
    each = spent / len(nodes)
    bound = min(most_flops, cost.flops / cost.bytes * most_bytes)
    rate = cost.flops / each / 1e3
    return Point(
        operator=operator,
        shapes=shapes,
        nodes=len(nodes),
        microseconds=figures(spent),
        megaflops=figures(cost.flops / 1e6),
        kilobytes=figures(cost.bytes / 1e3),
        flops_per_byte=figures(cost.flops / cost.bytes),
        gigaflops=figures(rate),
        gigabytes=figures(cost.bytes / each / 1e3),
        percent_of_roof=round(100 * rate / bound, 1),
    )


def _decades(values: list[float]) -> tuple[float, ...]:
    """Powers of ten from below the least to above the largest."""
    known = [value for value in values if value > 0]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    return tuple(float(10.0**power) for power in range(low, max(high, low + 1) + 1))
