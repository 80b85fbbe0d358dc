"""MSA-Conv against the recorded outputs of the official layer; TiC against the idea of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data.fill import make_input
from golden_files import fill, keys_of

from attnc.model_defs.errors import ModelOptionError
from attnc.model_defs.registry import build_model, model_config
from attnc.model_defs.tic import Layer, MSAConv2d

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
FACTS = json.loads((GOLDEN / "facts_tic.json").read_text())
VARIANTS = sorted(FACTS)
NETWORKS = ("tic_tiny", "tic_small")
TINY = {"dims": (8, 12, 16, 20), "depths": (1, 2, 2, 2), "num_classes": 5}


def filled(name):
    model = build_model(name)
    return fill(model, keys_of(name))


@pytest.mark.parametrize("name", VARIANTS)
def test_state_dict_is_the_published_one(name):
    model = build_model(name)
    assert {key: tuple(v.shape) for key, v in model.state_dict().items()} == keys_of(name)
    assert list(model.state_dict()) == list(keys_of(name))
    assert sum(p.numel() for p in model.parameters()) == FACTS[name]["params"]


@pytest.mark.parametrize("name", VARIANTS)
def test_maps_are_those_of_the_official_layer(name):
    facts, model, config = FACTS[name], filled(name), model_config(name)
    recorded = np.load(GOLDEN / f"golden_{name}.npz")
    x = torch.from_numpy(make_input(facts["input_shape"], facts["seed"]))
    assert tuple(x.shape[1:]) == (config.in_channels, *config.image_size)
    y, y64 = model(x), model.double()(x.double())
    assert list(y.shape) == recorded["out_shape"].tolist()
    assert y.shape[1] == config.num_classes
    stride = int(recorded["sample_stride"])
    assert np.abs(y.flatten()[::stride].numpy() - recorded["logits"]).max() <= 5e-5
    assert np.abs(y64.flatten()[::stride].numpy() - recorded["logits64"]).max() < 1e-9
    assert float(y64.mean()) == pytest.approx(float(recorded["out_mean"]), abs=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (13, 5)])
@pytest.mark.parametrize("name", ["tic_layer_c32_k5x1", "tic_layer_c96_k5_d2"])
def test_layers_take_any_map(name, size):
    """Against the definition, pixel by pixel; most of these windows reach out of the map."""
    model = filled(name).double()
    x = torch.from_numpy(make_input((1, model_config(name).in_channels, *size), 3)).double()
    q, k, v = model.qkv_conv(x)[0].chunk(3)
    attended = x.clone()
    reach = [model.dilation * (side // 2) for side in model.kernel]
    steps = [range(-r, r + 1, model.dilation) for r in reach]
    for y_at, x_at in np.ndindex(*size):
        places = [(y_at + i, x_at + j) for i in steps[0] for j in steps[1]]
        zero = torch.zeros_like(q[:, 0, 0])
        inside = [0 <= a < size[0] and 0 <= b < size[1] for a, b in places]
        keys = [k[:, a, b] if ok else zero for (a, b), ok in zip(places, inside, strict=True)]
        values = [v[:, a, b] if ok else zero for (a, b), ok in zip(places, inside, strict=True)]
        weights = (torch.stack(keys) @ q[:, y_at, x_at] * len(q) ** -0.5).softmax(dim=0)
        attended[0, :, y_at, x_at] += weights @ torch.stack(values)
    assert torch.allclose(model(x), model.mlp(attended).relu(), atol=1e-10)


def test_shift_reaches_far_and_around():
    """A window of one place shows its own pixel, or with a shift one in each direction."""
    torch.manual_seed(0)
    layer = Layer(8, 8, (1, 1), padding=(0, 0))
    x = torch.from_numpy(make_input((1, 8, 12, 12), 7))
    moved = x.clone()
    moved[:, :, 0, 0] += 1.0
    for shift, touched in ((0, {(0, 0)}), (5, {(5, 0), (7, 0), (0, 5), (0, 7)})):
        model = MSAConv2d(layer, shift=shift)
        model.mlp = torch.nn.Identity()
        q, k, v = model.qkv_conv(x).chunk(3, dim=1)
        q2, k2, v2 = model.qkv_conv(moved).chunk(3, dim=1)
        change = (model._attend(q, k, v) - model._attend(q2, k2, v2)).abs().amax(dim=1)[0]
        assert {tuple(place) for place in change.nonzero().tolist()} == touched


def test_pooled_keys_share_the_softmax():
    """With one pooled cell and all keys zero, every weight is the same and the mean counts once."""
    model = MSAConv2d(Layer(4, 4), pool=1)
    v = torch.from_numpy(make_input((2, 4, 6, 5), 8))
    zero = torch.zeros_like(v)
    window = 9 * torch.nn.functional.avg_pool2d(v, 3, 1, 1)
    expected = (window + v.mean((2, 3), keepdim=True)) / 10
    assert torch.allclose(model._attend(zero, zero, v), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (65, 97), (224, 224)])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_take_any_size_from_32_on(name, size):
    model = build_model(name, **TINY)
    x = torch.from_numpy(make_input((2, 3, *size), 3))
    both = model(x)
    assert both.shape == (2, 5)
    assert torch.allclose(both[1:], model(x[1:]), atol=1e-4)


def test_networks_as_registered():
    sizes = {name: sum(p.numel() for p in build_model(name).parameters()) for name in NETWORKS}
    assert sizes == {"tic_tiny": 8_739_424, "tic_small": 17_457_288}
    logits = build_model("tic_tiny")(torch.from_numpy(make_input((2, 3, 224, 224), 1)))
    assert logits.shape == (2, 1000)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0.1


@pytest.mark.parametrize(
    "name",
    [
        "tic_layer_c32_k5x1",
        pytest.param("tic_tiny", marks=pytest.mark.slow),
        pytest.param("tic_layer_c128_k7", marks=pytest.mark.slow),
    ],
)
def test_exports_with_a_dynamic_batch(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    config = model_config(name)
    model = build_model(name, **(TINY if name in NETWORKS else {}))
    x = torch.from_numpy(make_input((3, config.in_channels, *config.image_size), 6))
    program = torch.onnx.export(
        model,
        (x[:2],),
        dynamo=True,
        opset_version=20,
        verbose=False,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    feed = {session.get_inputs()[0].name: x.numpy()}
    assert np.abs(session.run(None, feed)[0] - model(x).numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("tic_layer_c64_k3", {"kernel": (4, 4)}, "odd"),
        ("tic_layer_c64_k3", {"kernel": (3, 2)}, "odd"),
        ("tic_layer_c64_k3", {"kernel": 3}, "2 values"),
        ("tic_layer_c64_k3", {"num_classes": 10}, "no classes"),
        ("tic_layer_c64_k3", {"dilation": 0}, "positive"),
        ("tic_layer_c64_k3", {"padding": (-1, 0)}, "negative"),
        ("tic_layer_c64_k3", {"keep_rate": 0.5}, "keep_rate"),
        ("tic_tiny", {"kernels": (3, 3, 6, 3)}, "odd"),
        ("tic_tiny", {"depths": (1, 1)}, "one value per stage"),
        ("tic_tiny", {"pools": (-1, 0, 0, 0)}, "negative"),
        ("tic_tiny", {"depths": (1, 1, 0, 1)}, "make no network"),
        ("tic_tiny", {"shift": 3}, "'shift'"),
    ],
)
def test_options_that_make_no_module(name, options, told):
    with pytest.raises(ModelOptionError, match=told):
        build_model(name, **options)
