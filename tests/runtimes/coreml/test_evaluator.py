"""Evaluating saved programs: results, what a watcher sees, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from saved_packages import (
    LABELS,
    WEIGHT,
    copy,
    edit_model,
    operation,
    save_classifier,
    save_enumerated,
    save_tensors,
)

from attnc.compiler.errors import ParityError, UnsupportedError, UsageError
from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.ops.table import TABLE
from attnc.runtimes.coreml.package import Package, open_package
from attnc.runtimes.coreml.program import Operation


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tensors(tmp_path_factory.mktemp("tensors"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def enumerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_enumerated(tmp_path_factory.mktemp("enumerated"))


def expected(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The probabilities of the network, in double precision."""
    windows = np.lib.stride_tricks.sliding_window_view(x[0].astype(np.float64), (3, 3), (1, 2))
    logits = np.maximum(np.einsum("chwij,ocij->ohw", windows, WEIGHT), 0).mean((1, 2))
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum())


def array(*shape: int, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_the_program_is_evaluated_and_watched(tensors: Path) -> None:
    seen: list[tuple[str, str]] = []

    def watch(each: Operation, results: tuple[Any, ...]) -> None:
        assert [result.shape for result in results] == [value.type.shape for value in each.outputs]
        seen.append((each.type, each.name))

    x = array(1, 3, 8, 6)
    results = Evaluator(open_package(tensors)).run({"x": x}, watch)
    np.testing.assert_allclose(results["chances"][0], expected(x), rtol=1e-5)
    assert [kind for kind, _ in seen] == ["conv", "relu", "reduce_mean", "softmax"]
    assert ("conv", "stem") in seen


def test_constants_are_unpacked_once(tensors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[str] = []
    right = TABLE["const"]
    monkeypatch.setitem(TABLE, "const", lambda call: unpacked.append(call.name) or right(call))
    evaluator, x = Evaluator(open_package(tensors)), array(1, 3, 8, 6)
    first, second = (evaluator.run({"x": x})["chances"] for _ in range(2))
    assert unpacked
    assert len(unpacked) == len(set(unpacked))
    np.testing.assert_array_equal(first, second)


def test_a_classifier_names_the_most_probable_class(classifier: Path) -> None:
    package = open_package(classifier)
    outputs = {each.kind: each for each in package.outputs}
    pixels = np.random.default_rng(2).integers(0, 256, (8, 6, 3), np.uint8)
    results = Evaluator(package).run({"x": Image.fromarray(pixels)})
    wanted = expected(pixels[..., ::-1].transpose(2, 0, 1)[None])
    chances = results[outputs["dictionary"].name]
    assert list(chances) == LABELS
    np.testing.assert_allclose(list(chances.values()), wanted, atol=2e-3)
    assert results[outputs["label"].name] == LABELS[int(wanted.argmax())]


def test_pictures_and_arrays_of_pixels_agree(classifier: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (8, 6, 3), np.uint8)
    evaluator = Evaluator(open_package(classifier))
    planes = pixels[..., ::-1].transpose(2, 0, 1)[None]
    assert evaluator.run({"x": Image.fromarray(pixels)}) == evaluator.run({"x": planes})


def test_enumerated_shapes_are_the_ones_allowed(enumerated: Path) -> None:
    package = open_package(enumerated)
    for shape in package.inputs[0].shapes:
        x = array(*shape)
        (chances,) = Evaluator(package).run({"x": x}).values()
        np.testing.assert_allclose(chances[0], expected(x), atol=2e-3)
    with pytest.raises(UsageError, match=r"shape \[1, 3, 9, 6\], not"):
        Evaluator(package).run({"x": array(1, 3, 9, 6)})


def picture(mode: str, width: int, height: int) -> Image.Image:
    return Image.new(mode, (width, height))


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({}, "takes x"),
        ({"y": array(1, 3, 8, 6)}, "the inputs are y"),
        ({"x": array(1, 3, 8, 6), "y": array(1)}, "the inputs are x, y"),
        ({"x": array(1, 3, 6, 8)}, "not [1, 3, 8, 6]"),
        ({"x": array(3, 8, 6)}, "not [1, 3, 8, 6]"),
        ({"x": np.full((1, 3, 8, 6), "?")}, "holds <U1"),
        ({"x": picture("RGB", 8, 6)}, "is 8x6 (width x height), not 6x8"),
        ({"x": picture("L", 6, 8)}, "mode L, not RGB"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    classifier: Path, inputs: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Evaluator(open_package(classifier)).run(inputs)
    assert says in caught.value.message
    assert caught.value.where
    assert caught.value.remedy


def test_a_tensor_input_takes_no_picture(tensors: Path) -> None:
    with pytest.raises(UsageError, match="takes no picture"):
        Evaluator(open_package(tensors)).run({"x": picture("RGB", 6, 8)})


def test_an_unknown_function_is_refused(tensors: Path) -> None:
    with pytest.raises(UsageError, match="no function 'other'"):
        Evaluator(open_package(tensors), "other")


def edited(package: Path, folder: Path, change: Callable[[Any], None]) -> Package:
    target = copy(package, folder)
    edit_model(target, change)
    return open_package(target)


def test_a_foreign_operation_is_named_before_any_runs(tensors: Path, tmp_path: Path) -> None:
    def foreign(model: Any) -> None:
        operation(model, "softmax").type = "soft_serve"

    ran: list[str] = []
    package = edited(tensors, tmp_path, foreign)
    with pytest.raises(UnsupportedError, match="soft_serve 'chances'") as caught:
        Evaluator(package).run({"x": array(1, 3, 8, 6)}, lambda each, _: ran.append(each.type))
    assert "iOS 16" in caught.value.where
    assert not ran


def wrong_size(model: Any) -> None:
    operation(model, "relu").outputs[0].type.tensorType.dimensions[3].constant.size = 5


def wrong_rank(model: Any) -> None:
    type_ = operation(model, "relu").outputs[0].type.tensorType
    type_.rank = 3
    del type_.dimensions[0]


def wrong_float(model: Any) -> None:
    operation(model, "relu").outputs[0].type.tensorType.dataType = 10


def wrong_kind(model: Any) -> None:
    operation(model, "relu").outputs[0].type.tensorType.dataType = 23


@pytest.mark.parametrize("change", [wrong_size, wrong_rank, wrong_float, wrong_kind])
def test_a_declared_type_that_lies_is_found(
    tensors: Path, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    package = edited(tensors, tmp_path, change)
    with pytest.raises(ParityError, match="relu 'bent'"):
        Evaluator(package).run({"x": array(1, 3, 8, 6)})


def test_an_undefined_name_is_found(tensors: Path, tmp_path: Path) -> None:
    def rename(model: Any) -> None:
        operation(model, "relu").inputs["x"].arguments[0].name = "ghost"

    with pytest.raises(UsageError, match="reads 'ghost' before"):
        Evaluator(edited(tensors, tmp_path, rename)).run({"x": array(1, 3, 8, 6)})


def test_arguments_that_do_not_fit_are_no_traceback(tensors: Path, tmp_path: Path) -> None:
    def swap(model: Any) -> None:
        inputs = operation(model, "conv").inputs
        inputs["weight"].arguments[0].name = inputs["strides"].arguments[0].name

    with pytest.raises(UsageError, match="conv 'stem'"):
        Evaluator(edited(tensors, tmp_path, swap)).run({"x": array(1, 3, 8, 6)})


def test_a_lacking_argument_is_named(tensors: Path, tmp_path: Path) -> None:
    def drop(model: Any) -> None:
        del operation(model, "relu").inputs["x"]

    with pytest.raises(UsageError, match="lacks its input 'x'"):
        Evaluator(edited(tensors, tmp_path, drop)).run({"x": array(1, 3, 8, 6)})
