"""Random cases of every standard operator that the engine knows: odd sizes, broadcasting, types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

Array = np.ndarray


@dataclass
class Standard:
    """One call of an operator; `types` are those of the outputs, the first input's if not given."""

    operator: str
    inputs: list[Array | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    types: tuple[str, ...] = ()

    def expected(self) -> list[Array]:
        """The outputs by ONNX's own reference, in double precision, with the engine's types."""
        wide = [_wide(a) for a in self.inputs]
        names = ["" if a is None else f"i{k}" for k, a in enumerate(wide)]
        first = self.inputs[0]
        assert first is not None
        types = self.types or (first.dtype.name,)
        outs = [f"o{k}" for k in range(len(types))]
        node = helper.make_node(self.operator, names, outs, **self.attributes)
        feeds = {n: a for n, a in zip(names, wide, strict=True) if a is not None}
        ports = [helper.make_tensor_value_info(n, _kind(a), a.shape) for n, a in feeds.items()]
        made = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in outs]
        graph = helper.make_graph([node], "case", ports, made)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
        found = ReferenceEvaluator(model).run(None, feeds)
        return [np.asarray(y).astype(t) for y, t in zip(found, types, strict=True)]

    def attributes_of_the_program(self) -> dict[str, Any]:
        """The same attributes as the program has them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self.attributes.items()}


def _wide(array: Array | None) -> Array | None:
    return array.astype(np.float64) if array is not None and array.dtype == np.float32 else array


def _kind(array: Array) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)


class Maker:
    """Random arrays of one run."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def f(self, *shape: int) -> Array:
        """Normal numbers."""
        return np.asarray(self.rng.standard_normal(shape), np.float32)

    def positive(self, *shape: int) -> Array:
        """Numbers from 0.1 to about 10."""
        return np.asarray(self.rng.uniform(0.1, 10, shape), np.float32)

    def whole(self, *shape: int, low: int = -9, high: int = 10, dtype: str = "int64") -> Array:
        """Whole numbers in [low, high)."""
        return np.asarray(self.rng.integers(low, high, shape)).astype(dtype)

    def choice(self, *shape: int) -> Array:
        """Truths."""
        return np.asarray(self.rng.integers(0, 2, shape), bool)

    def distinct(self, *shape: int) -> Array:
        """Numbers of which no two are equal."""
        return self.rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


def ints(*values: int) -> Array:
    """What ONNX passes as a constant input."""
    return np.array(values, np.int64)


SHAPES = [((), ()), ((7,), ()), ((3, 1, 5), (4, 1)), ((2, 3, 4), (2, 3, 4)), ((1, 6), (5, 1))]
SHAPES += [((2, 3, 1, 4, 1, 2, 1, 3), (3, 5, 1, 2, 2, 2, 3)), ((0, 3), (1, 3)), ((4, 19), (19,))]


def unary(m: Maker) -> Iterator[Standard]:
    names = "Abs Ceil Erf Exp Floor Gelu HardSigmoid HardSwish LeakyRelu Neg Reciprocal Relu Round"
    for name in [*names.split(), "Sigmoid", "Tanh"]:
        yield Standard(name, [3 * m.f(3, 5, 7)])
    yield Standard("Round", [np.float32([0.5, 1.5, 2.5, -0.5, -1.5, 2.4])])
    yield Standard("Gelu", [3 * m.f(4, 9)], {"approximate": "tanh"})
    yield Standard("LeakyRelu", [m.f(17)], {"alpha": 0.3})
    yield Standard("HardSigmoid", [3 * m.f(17)], {"alpha": 0.3, "beta": 0.4})
    for name in ("Log", "Sqrt"):
        yield Standard(name, [m.positive(2, 3, 4)])
    for low, high in ((-0.5, 0.7), (None, 0.1), (0.2, None), (None, None)):
        bounds = [None if b is None else np.float32(b) for b in (low, high)]
        yield Standard("Clip", [m.f(5, 6), *bounds])
    yield Standard("Not", [m.choice(3, 5)])


def binary(m: Maker) -> Iterator[Standard]:
    for left, right in SHAPES:
        for name in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"):
            yield Standard(name, [m.positive(*left), m.positive(*right)])
        for name in ("Add", "Sub", "Mul", "Max", "Min"):
            dtype = ("int64", "int32")[len(left) % 2]
            yield Standard(name, [m.whole(*s, dtype=dtype) for s in (left, right)])
        for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
            for dtype in ("float32", "int64"):
                pair = [m.whole(*s, low=-1, high=2, dtype=dtype) for s in (left, right)]
                yield Standard(name, pair, types=("bool",))
        for name in ("And", "Or"):
            yield Standard(name, [m.choice(*left), m.choice(*right)])
        yield Standard("Where", [m.choice(*left), m.f(*right), m.f(*left)], types=("float32",))
        yield Standard("Where", [m.choice(*right), m.whole(*left), m.whole(1)], types=("int64",))
    yield Standard("Max", [m.f(4, 1), m.f(5), m.f(3, 1, 1)])
    yield Standard("Min", [m.f(4, 3)])
    yield Standard("Equal", [m.choice(9), m.choice(9)])
    yield Standard("Pow", [m.f(4, 5), np.float32([2, 3, 0, -1, 2])])
    yield Standard("Div", [m.whole(30, low=1), m.whole(30, low=1)])
    yield Standard("Mod", [m.whole(60), np.where(m.choice(60), 1, -1) * m.whole(60, low=1)])
    yield Standard("Mod", [m.f(60), m.positive(60)], {"fmod": 1})


def cast(m: Maker) -> Iterator[Standard]:
    arrays = [5 * m.f(3, 7), m.whole(21), m.whole(21, dtype="int32"), m.choice(21)]
    for array in arrays:
        for to in ("float32", "int64", "int32", "bool"):
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(to))
            yield Standard("Cast", [array], {"to": kind}, (to,))


def shape(m: Maker) -> Iterator[Standard]:
    x = m.f(2, 3, 4)
    yield Standard("Reshape", [x, ints(0, -1)])
    yield Standard("Reshape", [x, ints(24)])
    yield Standard("Flatten", [x], {"axis": 2})
    yield Standard("Identity", [m.whole(3, 2)])
    yield Standard("Squeeze", [m.f(1, 3, 1), ints(0, -1)])
    yield Standard("Unsqueeze", [x, ints(0, -1)])
    yield Standard("Expand", [m.f(3, 1, 2), ints(4, 1, 5, 1)])
    yield Standard("Expand", [m.choice(1, 2), ints(3, 2)])
    for perm in ((2, 0, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0)):
        for array in (x, m.whole(2, 3, 4), m.choice(2, 3, 4)):
            yield Standard("Transpose", [array], {"perm": perm})
    yield Standard("Transpose", [x])
    yield Standard("Transpose", [m.f(2, 1, 3, 2, 2, 1, 2, 3)], {"perm": (7, 1, 0, 2, 4, 6, 5, 3)})
    for axis in (0, 1, -1):
        sizes = [[2, 3, 4] for _ in range(3)]
        for k, size in enumerate(sizes):
            size[axis] = k + 1
        yield Standard("Concat", [m.f(*size) for size in sizes], {"axis": axis})
        yield Standard("Split", [m.f(6, 6, 6), ints(1, 3, 2)], {"axis": axis}, ("float32",) * 3)
    yield Standard("Concat", [m.whole(2), m.whole(0), m.whole(3)], {"axis": 0})
    yield Standard("Split", [m.whole(2, 5)], {"axis": 1, "num_outputs": 2}, ("int64",) * 2)
    yield Standard("Tile", [x, ints(2, 1, 3)])
    yield Standard("Range", [np.int64(3), np.int64(-9), np.int64(-4)])
    yield Standard("Range", [np.float32(0), np.float32(2), np.float32(0.3)])
    for upper in (0, 1):
        for k in (-2, 0, 1):
            yield Standard("Trilu", [m.f(2, 4, 5), np.int64(k)], {"upper": upper})


def slices(m: Maker) -> Iterator[Standard]:
    x = m.f(5, 6, 7)
    most = 2**31 - 1
    yield Standard("Slice", [x, ints(1, 0), ints(4, most), ints(0, 2), ints(2, 3)])
    yield Standard("Slice", [x, ints(-1), ints(-(2**31)), ints(1), ints(-1)])
    yield Standard("Slice", [x, ints(-2), ints(0), ints(-1), ints(-2)])
    yield Standard("Slice", [x, ints(1, 2, 3), ints(9, 4, 5)])
    yield Standard("Slice", [m.whole(9), ints(3), ints(3), ints(0)])
    yield Standard("Slice", [m.whole(9), ints(-99), ints(99), ints(0), ints(4)])
    yield Standard("Pad", [x, ints(1, 0, 2, 0, 3, 1), np.float32(1.5)])
    yield Standard("Pad", [x, ints(1, 2), np.float32(0), ints(-1)])
    for mode in ("reflect", "edge", "wrap"):
        yield Standard("Pad", [x, ints(2, 0, 3, 1, 2, 4)], {"mode": mode})


def select(m: Maker) -> Iterator[Standard]:
    x = m.f(4, 5, 6)
    for axis in (0, 1, -1):
        index = m.whole(2, 3, low=-4, high=4)
        yield Standard("Gather", [x, index], {"axis": axis})
        places = m.whole(4, 5, 6, low=0, high=4)
        yield Standard("GatherElements", [x, places], {"axis": axis})
        order = np.argsort(m.f(4, 5, 6), axis=axis)
        yield Standard("ScatterElements", [x, order, m.f(4, 5, 6)], {"axis": axis})
        for largest in (0, 1):
            attributes = {"axis": axis, "largest": largest}
            for k in (1, 3):
                inputs = [m.distinct(4, 5, 6), ints(k)]
                yield Standard("TopK", inputs, attributes, ("float32", "int64"))
        for keep in (0, 1):
            attributes = {"axis": axis, "keepdims": keep}
            yield Standard("ArgMax", [m.distinct(4, 5, 6)], attributes, ("int64",))
    yield Standard("TopK", [m.whole(3, 40, dtype="float32"), ints(40)], {}, ("float32", "int64"))
    yield Standard("ArgMax", [np.float32([1, 2, 2])], {"select_last_index": 1}, ("int64",))
    yield Standard("Gather", [m.whole(9), np.int64(-2)])
    for reduction in ("add", "mul", "max", "min"):
        inputs = [x, m.whole(2, 5, 3, low=0, high=4), m.f(2, 5, 3)]
        yield Standard("ScatterElements", inputs, {"axis": 0, "reduction": reduction})
    yield Standard("GatherND", [x, m.whole(7, 2, low=0, high=4)])
    yield Standard("GatherND", [x, m.whole(4, 2, 1, low=-5, high=5)], {"batch_dims": 1})
    once = np.stack([m.rng.permutation(4)[:3], m.rng.permutation(5)[:3]], 1)
    yield Standard("ScatterND", [x, once, m.f(3, 6)])
    index = m.whole(6, 1, low=0, high=4)
    yield Standard("ScatterND", [x, index, m.f(6, 5, 6)], {"reduction": "add"})
    for axis in (0, -1):
        inputs = [m.whole(2, 3, low=-5, high=5), np.int64(5), np.float32([0.5, 2])]
        yield Standard("OneHot", inputs, {"axis": axis}, ("float32",))


def reduce(m: Maker) -> Iterator[Standard]:
    for name in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"):
        for axes in ((0,), (1,), (-1,), (0, 2), (1, 2), (2, 3), (0, 1, 2, 3)):
            for keep in (0, 1):
                yield Standard(name, [m.f(3, 4, 5, 17), ints(*axes)], {"keepdims": keep})
        yield Standard(name, [m.f(3, 4)])
        yield Standard(name, [m.f(3, 4), ints()], {"noop_with_empty_axes": 0})
    for name in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"):
        yield Standard(name, [m.whole(3, 4, 5), ints(1)])
    for axis in (0, 1, -1):
        for exclusive in (0, 1):
            for reverse in (0, 1):
                attributes = {"exclusive": exclusive, "reverse": reverse}
                yield Standard("CumSum", [m.f(3, 4, 5), np.int64(axis)], attributes)


def matrix(m: Maker) -> Iterator[Standard]:
    sizes = [((3, 4), (4, 5)), ((2, 33, 40), (40, 19)), ((2, 1, 5, 6), (3, 6, 16))]
    for left, right in [*sizes, ((1, 70), (70, 100)), ((5, 1), (1, 7)), ((3, 0), (0, 2))]:
        yield Standard("MatMul", [m.f(*left), m.f(*right)])
    for a in (0, 1):
        for b in (0, 1):
            left, right = m.f(*[(19, 33), (33, 19)][a]), m.f(*[(33, 21), (21, 33)][b])
            attributes = {"transA": a, "transB": b, "alpha": 0.5, "beta": 1.5}
            yield Standard("Gemm", [left, right, m.f(21)], attributes)
            yield Standard("Gemm", [left, right], {"transA": a, "transB": b})
    for name in ("Softmax", "LogSoftmax"):
        for axis in (0, 1, -1):
            yield Standard(name, [5 * m.f(3, 4, 21)], {"axis": axis})
    yield Standard("Softmax", [1e4 * m.f(2, 7)])
    for axis in (-1, 1):
        scale = m.f(*(3, 4, 17)[axis:])
        attributes = {"axis": axis, "epsilon": 1e-4}
        yield Standard("LayerNormalization", [m.f(3, 4, 17), scale, scale + 1], attributes)
    yield Standard("LayerNormalization", [m.f(3, 5), m.f(5)])
    yield Standard("InstanceNormalization", [m.f(2, 3, 4, 5), m.f(3), m.f(3)])
    yield Standard("GroupNormalization", [m.f(2, 6, 5), m.f(3), m.f(3)], {"num_groups": 3})
    channels = [m.f(3), m.f(3), m.f(3), m.positive(3)]
    yield Standard("BatchNormalization", [m.f(2, 3, 4, 5), *channels], {"epsilon": 1e-3})


def pictures(m: Maker) -> Iterator[Standard]:
    x = m.f(2, 6, 9, 8)
    windows: list[dict[str, Any]] = [{}, {"pads": (1, 2, 0, 1)}, {"strides": (2, 3)}]
    windows += [{"dilations": (2, 1), "pads": (2, 2, 2, 2)}, {"auto_pad": "SAME_UPPER"}]
    for window in windows:
        for groups in (1, 2, 6):
            weight = m.f(12, 6 // groups, 3, 2)
            attributes = {"kernel_shape": (3, 2), "group": groups, **window}
            yield Standard("Conv", [x, weight, m.f(12)], attributes)
        for name in ("MaxPool", "AveragePool"):
            pads = {} if name == "AveragePool" and "dilations" in window else window
            even = (1, 1, 1, 1) if name == "MaxPool" else (1, 1, 0, 1)  # the reference is wrong
            pads = {k: even if k == "pads" else v for k, v in pads.items()}
            yield Standard(name, [x], {"kernel_shape": (3, 2), **pads})
    yield Standard("Conv", [x, m.f(5, 6, 1, 1)])
    include = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "count_include_pad": 1}
    yield Standard("AveragePool", [x], include)
    for name in ("MaxPool", "AveragePool"):
        yield Standard(name, [x], {"kernel_shape": (2, 2), "strides": (2, 3), "ceil_mode": 1})
    yield Standard("GlobalAveragePool", [x])


KINDS: tuple[Callable[[Maker], Iterator[Standard]], ...] = (
    *(unary, binary, cast, shape, slices, select, reduce, matrix, pictures),
)


def standard_cases(seed: int) -> dict[str, Standard]:
    """All cases by a name of their own."""
    maker, cases = Maker(seed), dict[str, Standard]()
    for kind in KINDS:
        for case in kind(maker):
            count = sum(1 for name in cases if name.split("-")[0] == case.operator)
            cases[f"{case.operator}-{count}"] = case
    return cases
