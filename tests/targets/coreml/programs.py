"""Standard operators as Core ML programs: many cases in one graph, run by the evaluator and by
ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from attnc.targets.coreml.lower import Lowered, Options, lower, prepare

ct = pytest.importorskip("coremltools")

Array = NDArray[Any]
_PORTS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}


@dataclass(frozen=True, eq=False)
class Case:
    """One node. Arrays wrapped by `fixed` are constants, the others are given at run time.

    `operations` names what it must become, in any order, where that is part of the promise.
    """

    operator: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    label: str = ""
    tolerance: float = 1e-5
    operations: tuple[str, ...] | None = None

    @property
    def id(self) -> str:
        """Name in test reports."""
        shapes = "-".join("x".join(map(str, a.shape)) or "0d" for a in map(_array, self.live))
        return "-".join(filter(None, (self.operator, self.label, shapes)))

    @property
    def live(self) -> list[Array]:
        """The inputs that the program takes."""
        return [x for x in self.inputs if x is not None and not isinstance(x, Fixed)]


@dataclass(frozen=True, eq=False)
class Fixed:
    """An input that is a constant of the graph."""

    array: Array


def fixed(*values: Any, dtype: Any = None) -> Fixed:
    """A constant: integers as int64, floats as float32; one array is taken as it is."""
    array = np.asarray(values[0] if len(values) == 1 else values)
    kind = {"i": np.int64, "f": np.float32}.get(array.dtype.kind, array.dtype)
    return Fixed(array.astype(dtype or kind))


def case(operator: str, *inputs: Any, **options: Any) -> Case:
    """A case; the attributes are those options that are no field of it."""
    known = {name: options.pop(name) for name in tuple(options) if name in _FIELDS}
    return Case(operator, inputs, options, **known)


_FIELDS = ("outputs", "label", "tolerance", "operations")


def _array(x: Any) -> Array:
    return np.asarray(x)


class Group:
    """Cases of one opset as one model, with what each has to answer."""

    def __init__(self, cases: Sequence[Case], opset: int = 20) -> None:
        self.cases, self.opset = tuple(cases), opset
        self._feeds: dict[str, Array] = {}
        self._graph = helper.make_graph([], "cases", [], [])
        self._nodes = [self._add(index, entry) for index, entry in enumerate(self.cases)]
        known = {value.name: value for value in self.model().graph.value_info}
        self._names = [
            [self._show(known.get(name) or self._like_input(name, entry)) for name in node.output]
            for node, entry in zip(self._nodes, self.cases, strict=True)
        ]

    def parameters(self) -> list[Any]:
        """One per case, for pytest."""
        return [pytest.param(index, id=entry.id) for index, entry in enumerate(self.cases)]

    def promises(self) -> list[Any]:
        """The parameters of those cases that say which operations they become."""
        return [
            pytest.param(index, id=entry.id)
            for index, entry in enumerate(self.cases)
            if entry.operations is not None
        ]

    def check_operations(self, index: int) -> None:
        """Compares what a node became with what its case promises."""
        assert self.operations(index) == sorted(self.cases[index].operations or ())

    def check(self, index: int, ios: int) -> None:
        """Compares one case with ONNX Runtime."""
        self._compare(index, _found(self, ios), _wanted(self), self.cases[index].tolerance)

    def check_half(self, index: int) -> None:
        """The same in half precision, on inputs that it holds."""
        self._compare(index, _found(self, 16, True), _wanted(self, True), 1e-2)

    def operations(self, index: int, ios: int = 16) -> list[str]:
        """What the node of a case became."""
        lowered = self.lowered(ios)
        node = self._nodes[index]
        name = f"{node.op_type} {node.name}"
        kinds = {op.name: op.op_type for op in lowered.program["main"].operations}
        made = [kinds[key] for key, origin in lowered.origins.items() if origin.node == name]
        return sorted(kind for kind in made if kind not in ("const", "identity"))

    def lowered(self, ios: int, half: bool = False) -> Lowered:
        """The program for an iOS version."""
        return _lowered(self, ios, half)

    def feeds(self, half: bool) -> dict[str, Array]:
        """The inputs by name; numbers that float16 holds, if `half`."""
        if not half:
            return self._feeds
        return {
            key: array.astype(np.float16).astype(np.float32) if array.dtype.kind == "f" else array
            for key, array in self._feeds.items()
        }

    def model(self) -> onnx.ModelProto:
        """The graph with all shapes."""
        made = helper.make_model(
            self._graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10
        )
        return onnx.shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)

    def _compare(
        self, index: int, found: Mapping[str, Any], wanted: Mapping[str, Array], tolerance: float
    ) -> None:
        for name in self._names[index]:
            expected, result = wanted[name], np.asarray(found[name])
            assert result.shape == expected.shape
            if expected.dtype.kind != "f":
                np.testing.assert_array_equal(result, expected)
                continue
            scale = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0))
            np.testing.assert_allclose(
                result.astype(np.float32), expected, rtol=tolerance, atol=tolerance * scale
            )

    def _add(self, index: int, entry: Case) -> onnx.NodeProto:
        names = [self._feed(f"c{index}_x{at}", x) for at, x in enumerate(entry.inputs)]
        outputs = [f"c{index}_y{at}" for at in range(entry.outputs)]
        kind = entry.operator
        node = helper.make_node(kind, names, outputs, name=f"c{index}_{kind}", **entry.attributes)
        self._graph.node.append(node)
        return node

    def _feed(self, name: str, x: Any) -> str:
        """Truths come in as integers and single numbers as one element: Core ML takes no others."""
        if x is None:
            return ""
        if isinstance(x, Fixed):
            self._graph.initializer.append(numpy_helper.from_array(x.array, name))
            return name
        array = np.asarray(x)
        fed = np.atleast_1d(array.astype(np.int32) if array.dtype == bool else array)
        self._feeds[name] = fed
        port = helper.make_tensor_value_info(name, _PORTS[fed.dtype.name], fed.shape)
        self._graph.input.append(port)
        if array.dtype == bool:
            name = self._changed("Cast", [name], to=TensorProto.BOOL)
        return name if array.ndim else self._changed("Squeeze", [name])

    def _changed(self, kind: str, names: list[str], **attributes: Any) -> str:
        made = f"{names[0]}_{kind}"
        self._graph.node.append(helper.make_node(kind, names, [made], **attributes))
        return made

    def _like_input(self, name: str, entry: Case) -> onnx.ValueInfoProto:
        """For the norms of which ONNX infers no shape."""
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, entry.live[0].shape)

    def _show(self, value: onnx.ValueInfoProto) -> str:
        """Outputs leave as they are, but truths as integers: Core ML hands out no others."""
        if value.type.tensor_type.elem_type == TensorProto.BOOL:
            shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
            shown = self._changed("Cast", [value.name], to=TensorProto.INT32)
            value = helper.make_tensor_value_info(shown, TensorProto.INT32, shape)
        self._graph.output.append(value)
        return str(value.name)


@cache
def _lowered(group: Group, ios: int, half: bool) -> Lowered:
    return lowered(group.model(), ios, half)


@cache
def _wanted(group: Group, half: bool = False) -> dict[str, Array]:
    return expected(group.model(), group.feeds(half))


@cache
def _found(group: Group, ios: int, half: bool = False) -> dict[str, Array]:
    found = evaluate(group.lowered(ios, half), ios, group.feeds(half))
    names = (port.name for port in group.model().graph.output)
    return dict(zip(names, found, strict=True))


def expected(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime answers, by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def lowered(proto: onnx.ModelProto, ios: int, half: bool = False) -> Lowered:
    """A model's program."""
    model = ir.from_proto(proto)
    prepare(model, ios)
    return lower(model, Options(ios, half))


def evaluate(made: Lowered, ios: int, feeds: Mapping[str, Array]) -> list[Array]:
    """What a program answers, in order: saved, untouched by any pass, and read again."""
    from attnc.runtimes.coreml.evaluator import Evaluator
    from attnc.runtimes.coreml.package import open_package

    model = ct.convert(
        made.program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target[f"iOS{ios}"],
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mlpackage"
        model.save(str(path))
        package = open_package(path)
        types = {port.name: port.dtype for port in package.inputs}
        answers = Evaluator(package).run({key: _fed(feeds[key], types[key]) for key in feeds})
    return [np.asarray(answers[port.name]) for port in package.outputs]


def _fed(array: Array, dtype: str) -> Array:
    half = dtype in ("fp16", "float16")
    return array.astype(np.int32 if array.dtype.kind == "i" else np.float16 if half else np.float32)
