"""A batch that is free: one program for each of the listed numbers of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import Graph, close, copy_of, cosine, lowered
from rewriting import compute

from attnc.compiler.coreml_batches import BATCHES
from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.manifest import Preprocessing
from attnc.compiler.pipeline import run_pipeline
from attnc.compiler.seeded_input import seeded_input
from attnc.compiler.trace import trace
from attnc.compiler.trace.traced import TracedModel
from attnc.passes.pipelines import clean, default
from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.package import Package, open_package
from attnc.runtimes.reference import reference_function
from attnc.targets.coreml.emit import Wish, features_of, lower_for
from attnc.targets.coreml.lower import Options, lower, prepare
from attnc.targets.coreml.package import convert, save

#: Operations that a free batch costs beyond a fixed one of two: it is taken from the input.
MADE = Counter(slice_by_index=1, mul=1, reshape=2, add=1)
MODELS: dict[str, tuple[dict[str, Any], Counter[str]]] = {
    "shvit_s1": ({"image_size": 64}, Counter()),
    "deit_tiny": ({"image_size": 32}, MADE),
    "evit_tiny_k070": ({"image_size": 64}, MADE + Counter(reshape=1, cast=1, add=1)),
    "evit_tiny_k070_fuse": ({"image_size": 64}, MADE + Counter(reshape=1, cast=1, add=4)),
    "sparsifiner_s": ({"image_size": 224}, MADE + Counter(add=3)),
    "tic_layer_c64_k3": ({}, Counter()),
    "glnet_stl": ({"image_size": 32}, Counter()),
}
#: What is chosen among near-equals depends on the last digits, EViT's in float16.
CHOOSING = ("sparsifiner_s",)


#: For every test run; tracing the others takes long.
QUICK = ("evit_tiny_k070_fuse",)


def marked(names: Iterable[str]) -> list[Any]:
    """Parameters of a test, those that take long marked."""
    return [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names]


@cache
def traced(name: str) -> TracedModel:
    found = trace(name, batch="dynamic", **MODELS[name][0])
    run_pipeline(found.model, default())
    return found


def package(model: ir.Model, folder: Path, ios: int, half: bool = False) -> Package:
    model = copy_of(model)
    features = features_of(model, Wish())
    prepare(model, ios)
    made = convert(lower(model, Options(ios, half)).program, ios, features)
    return open_package(save(made, folder))


def run(package: Package, array: np.ndarray) -> Any:
    (given,), output = package.inputs, package.outputs[-1].name
    kind = np.float16 if given.dtype == "fp16" else np.float32
    return Evaluator(package).run({given.name: array.astype(kind)})[output].astype(np.float32)


@pytest.mark.parametrize(("ios", "half"), [(16, False), (18, True)])
@pytest.mark.parametrize("name", marked([name for name in MODELS if name not in CHOOSING]))
def test_every_family(name: str, ios: int, half: bool, tmp_path: Path) -> None:
    found = traced(name)
    made = package(found.model, tmp_path, ios, half)
    shape = tuple(map(int, found.input.shape[1:]))
    assert made.inputs[0].allowed == tuple((count, *shape) for count in BATCHES)
    assert made.inputs[0].shape == (BATCHES[0], *shape)
    source = reference_function(found.reference)
    for count in (1, 2, 8):
        array = seeded_input((count, *shape), 3)
        got, want = run(made, array), source(array)
        assert got.shape == want.shape
        if half:
            assert cosine(got, want) > (0.99 if "evit" in name else 0.999)
        else:
            close(got, want, 1e-4)


@pytest.mark.slow
def test_one_that_chooses(tmp_path: Path) -> None:
    """What is chosen in one picture does not depend on the others."""
    found = traced("sparsifiner_s")
    made = package(found.model, tmp_path, 17)
    shape = tuple(map(int, found.input.shape[1:]))
    array = seeded_input((1, *shape), 5)
    want = reference_function(found.reference)(array)
    close(run(made, array), want, 1e-4)
    close(run(made, np.concatenate([np.zeros_like(array), array]))[1:], want, 1e-4)


@pytest.mark.parametrize("name", marked(MODELS))
def test_operations_that_it_costs(name: str, tmp_path: Path) -> None:
    free = kinds(package(traced(name).model, tmp_path / "free", 17))
    fixed = kinds(package(with_batch(traced(name).model, 2), tmp_path / "fixed", 17))
    assert free - fixed == MODELS[name][1]
    assert not fixed - free


def with_batch(model: ir.Model, count: int) -> ir.Model:
    """The model for so many pictures at once."""
    made = copy_of(model)
    for value in (*made.graph.inputs, *(v for node in made.graph for v in node.outputs)):
        sizes = [size if isinstance(size, int) else count for size in value.shape or ()]
        value.shape = ir.Shape(sizes)
    run_pipeline(made, clean())
    return made


def kinds(package: Package) -> Counter[str]:
    """Its operations."""
    operations = package.program.functions["main"].block.operations
    return Counter(operation.type for operation in operations if operation.type != "const")


def test_other_batches_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    made = package(graph.model(graph.op("Relu", graph.input("n", 4))), tmp_path, 16)
    with pytest.raises(UsageError, match=r"shape \[3, 4\]"):
        run(made, np.ones((3, 4)))


def free_batch(graph: Graph) -> Any:
    """[n,3,4]"""
    return graph.input("n", 3, 4)


def expanded(graph: Graph, x: Any) -> Any:
    size = graph.op("Concat", graph.op("Shape", x, start=0, end=1), np.array([2, 4]), axis=0)
    return graph.op(
        "Add",
        graph.op("Expand", np.arange(8.0, dtype=np.float32).reshape(2, 4), size),
        graph.op("ReduceMean", x, np.array([1])),
    )


OPERATORS: dict[str, Any] = {
    "expand": expanded,
    "ConstantOfShape": lambda g, x: g.op(
        "Add", x, g.op("ConstantOfShape", g.op("Shape", x), value=ir.tensor([2.0]))
    ),
    "einsum": lambda g, x: g.op("Einsum", x, x, equation="bij,bkj->bik"),
    "einsum_heads": lambda g, x: g.op(
        "Einsum",
        *(g.op("Reshape", x, np.array([0, 3, 2, 2])) for _ in range(2)),
        equation="bhid,bhjd->bhij",
    ),
    "slice": lambda g, x: g.op("Slice", x, np.array([0, 1]), np.array([2**31 - 1, 3])),
    "gather": lambda g, x: g.op("Gather", x, np.array(-1), axis=1),
    "split": lambda g, x: g.op("Concat", x, g.op("Slice", x, [1], [2], [2]), axis=2),
    "where": lambda g, x: g.op("Where", g.op("Greater", x, np.float32(0)), x, np.float32(-1)),
    "pad": lambda g, x: g.op("Pad", x, np.array([0, 0, 1, 0, 0, 2]), mode="reflect"),
    "trilu": lambda g, x: g.op("Trilu", x, np.array(1)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_standard_operators(name: str, tmp_path: Path) -> None:
    graph = Graph()
    model = graph.model(OPERATORS[name](graph, free_batch(graph)))
    made = package(model, tmp_path, 17)
    for count in (1, 4):
        array = np.random.default_rng(count).standard_normal((count, 3, 4)).astype(np.float32)
        close(run(made, array), compute(model, {model.graph.inputs[0].name: array})[0])


REFUSED: dict[str, Any] = {
    "Shape": lambda g, x: g.op("Mul", x, g.op("Cast", g.op("Shape", x, end=1), to=1)),
    "Size": lambda g, x: g.op("Mul", x, g.op("Cast", g.op("Size", x), to=1)),
    "Gather": lambda g, x: g.op("Gather", x, np.array([0]), axis=0),
    "Slice": lambda g, x: g.op("Slice", x, np.array([0]), np.array([-1]), np.array([0])),
    "Pad": lambda g, x: g.op("Pad", x, np.array([1, 0, 0, 0, 0, 0])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_have_to_know_the_batch(name: str) -> None:
    graph = Graph()
    model = graph.model(REFUSED[name](graph, free_batch(graph)))
    with pytest.raises(UnsupportedError, match=f"{name} does there depends") as caught:
        lowered(model)
    assert name in caught.value.where
    assert "--batch N" in caught.value.remedy


def test_pictures_and_labels_come_one_at_a_time() -> None:
    rule = Preprocessing(
        image_size=(3, 4), interpolation="bilinear", crop_fraction=1, mean=(0,) * 3, std=(1,) * 3
    )
    for wish in (Wish(labels=["a", "b"]), Wish(picture=rule)):
        graph = Graph()
        model = graph.model(graph.op("Relu", graph.input("n", 3, 3, 4)))
        with pytest.raises(UnsupportedError, match="one at a time") as caught:
            lower_for(model, 16, wish, lambda path: {})
        assert "--batch 1" in caught.value.remedy
