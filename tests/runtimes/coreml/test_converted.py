"""Whole networks: what coremltools makes of them, evaluated here, against PyTorch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from converted_models import CONVOLUTIONAL
from converted_transformers import TOKEN
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.package import Package, open_package

ct = pytest.importorskip("coremltools")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

Array = NDArray[Any]
NETWORKS = {**CONVOLUTIONAL, **TOKEN}
TARGETS = ("iOS16", "iOS17", "iOS18")
#: Networks that only the older route converts, which follows the calls of one run.
TRACED = {"reader"}
SIZE = 32
LABELS = [f"class {index}" for index in range(10)]
SCALE, BIAS = 1 / 64, [-1.5, -2.0, -1.75]


@cache
def network(name: str) -> nn.Module:
    """The network with weights that keep its signal alive, and with statistics as if trained."""
    torch.manual_seed(sorted(NETWORKS).index(name))
    model = NETWORKS[name]().eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return model


@cache
def exported(name: str) -> Any:
    """The network as coremltools reads it."""
    x = (torch.zeros(1, 3, SIZE, SIZE),)
    if name in TRACED:
        return torch.jit.trace(network(name), x)
    return torch.export.export(network(name), x).run_decompositions({})


def converted(folder: Path, name: str, target: str, *, half: bool, **options: Any) -> Package:
    """A network converted for a target, with coremltools' usual passes."""
    if name in TRACED and "inputs" not in options:
        options["inputs"] = [ct.TensorType(shape=(1, 3, SIZE, SIZE))]
    model = ct.convert(
        exported(name),
        minimum_deployment_target=ct.target[target],
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        skip_model_load=True,
        **options,
    )
    path = folder / "model.mlpackage"
    model.save(str(path))
    return open_package(path)


def random_frame(seed: int) -> Array:
    """[1, 3, h, w] in float32."""
    frame = np.random.default_rng(seed).normal(size=(1, 3, SIZE, SIZE))
    return frame.astype(np.float32)


def reference(name: str, x: Array) -> Array:
    """What PyTorch answers."""
    with torch.no_grad():
        answer: Array = network(name)(torch.from_numpy(x)).numpy()
    return answer


def evaluated(package: Package, x: Any) -> Array:
    """What the evaluator answers; the network has one input and one output."""
    (given,), (got,) = package.inputs, package.outputs
    return np.asarray(Evaluator(package).run({given.name: x})[got.name], np.float64)


def error(answer: Array, wanted: Array) -> float:
    """The largest difference over the largest magnitude."""
    assert answer.shape == wanted.shape
    return float(np.max(np.abs(answer - wanted)) / np.max(np.abs(wanted)))


def cosine(answer: Array, wanted: Array) -> float:
    """Of the angle between two answers, each without its mean, which would hide the rest."""
    assert answer.shape == wanted.shape
    a, b = (each.ravel().astype(np.float64) - each.mean() for each in (answer, wanted))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize(
    ("name", "target"),
    [(name, TARGETS[place % 3]) for place, name in enumerate(NETWORKS)],
)
def test_single_precision_agrees_with_pytorch(name: str, target: str, tmp_path: Path) -> None:
    package = converted(tmp_path, name, target, half=False)
    x = random_frame(1)
    wanted = reference(name, x)
    assert error(reference(name, random_frame(2)), wanted) > 0.01, "the network ignores its input"
    found = error(evaluated(package, x), wanted)
    assert found < 2e-5, f"relative error {found:.2e}"


@pytest.mark.parametrize(
    ("name", "target"),
    [(name, TARGETS[(place + 1) % 3]) for place, name in enumerate(NETWORKS)],
)
def test_half_precision_stays_close_to_pytorch(name: str, target: str, tmp_path: Path) -> None:
    package = converted(tmp_path, name, target, half=True)
    x = random_frame(3)
    found = cosine(evaluated(package, x), reference(name, x))
    assert found > 0.9999, f"cosine {found:.6f}"


def test_attention_asked_for_as_a_whole_stays_whole(tmp_path: Path) -> None:
    package = converted(tmp_path, "fused_deit", "iOS18", half=False)
    kinds = [operation.type for operation in package.program.functions["main"].block.walk()]
    assert kinds.count("scaled_dot_product_attention") == 2


def picture(seed: int) -> Image.Image:
    """A picture of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3))
    return Image.fromarray(pixels.astype(np.uint8), "RGB")


def normalised(image: Image.Image) -> Array:
    """The picture as the network sees it behind the scale and bias of its input."""
    planes = np.asarray(image, np.float32).transpose(2, 0, 1)[None]
    return planes * np.float32(SCALE) + np.array(BIAS, np.float32).reshape(1, 3, 1, 1)


def image_input(layout: str) -> Any:
    """The declaration of an input that takes pictures."""
    return ct.ImageType(
        name="x" if layout == "BGR" else "input",
        shape=(1, 3, SIZE, SIZE),
        scale=SCALE,
        bias=BIAS,
        color_layout=ct.colorlayout[layout],
    )


@pytest.mark.parametrize(
    ("name", "target", "half"),
    [("mobilenet_v2", "iOS16", False), ("vit", "iOS17", False), ("convnext", "iOS18", True)],
)
def test_pictures_are_scaled_by_the_program(
    name: str, target: str, half: bool, tmp_path: Path
) -> None:
    package = converted(tmp_path, name, target, half=half, inputs=[image_input("RGB")])
    (given,) = package.inputs
    assert (given.kind, given.colour) == ("image", "RGB")
    image = picture(4)
    wanted, answer = reference(name, normalised(image)), evaluated(package, image)
    assert cosine(answer, wanted) > 0.9999
    assert half or error(answer, wanted) < 2e-5


def test_blue_may_come_first(tmp_path: Path) -> None:
    package = converted(tmp_path, "segmenter", "iOS16", half=False, inputs=[image_input("BGR")])
    image = picture(5)
    turned = Image.fromarray(np.asarray(image)[..., ::-1].copy(), "RGB")
    wanted = reference("segmenter", normalised(turned))
    assert error(evaluated(package, image), wanted) < 1e-4
    assert error(reference("segmenter", normalised(image)), wanted) > 0.01


def test_a_classifier_names_what_it_sees(tmp_path: Path) -> None:
    package = converted(
        tmp_path,
        "resnet",
        "iOS16",
        half=False,
        inputs=[image_input("RGB")],
        classifier_config=ct.ClassifierConfig(LABELS),
    )
    image = picture(6)
    wanted = reference("resnet", normalised(image))[0]
    answers = Evaluator(package).run({package.inputs[0].name: image})
    kinds = {output.kind: answers[output.name] for output in package.outputs}
    assert kinds["label"] == LABELS[int(np.argmax(wanted))]
    values = np.array([kinds["dictionary"][label] for label in LABELS])
    assert error(values, wanted) < 1e-4
