"""GLNet against the recorded outputs of the official implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data.fill import fill_state_dict, make_input
from golden_files import keys_of

from attnc.model_defs import glmix
from attnc.model_defs.errors import ModelOptionError
from attnc.model_defs.pooling import pool_to_grid
from attnc.model_defs.registry import build_model, check_image_size, model_config

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
FACTS = json.loads((GOLDEN / "facts_glmix.json").read_text())
VARIANTS = sorted(FACTS)
QUICK = ("glnet_stl_paramslot", "glnet_4g_tklb")
TINY = {
    "dims": (32, 32, 64, 64),
    "depths": (1, 1, 2, 1),
    "mlp_ratio": 2,
    "num_classes": 5,
}


def empty(name):
    """Without the minutes that random initial weights of 100 million parameters take."""
    with torch.device("meta"):
        return glmix.create(name).eval().requires_grad_(False)


def filled(name):
    model = empty(name)
    values = fill_state_dict(keys_of(name))
    tensors = {key: torch.from_numpy(value) for key, value in values.items()}
    model.load_state_dict(tensors, assign=True)
    return model


def quick_first(names, quick=QUICK):
    return [
        pytest.param(name, marks=() if name in quick else pytest.mark.slow, id=name)
        for name in names
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_state_dict_is_the_published_one(name):
    model = empty(name)
    assert {key: tuple(v.shape) for key, v in model.state_dict().items()} == keys_of(name)
    assert list(model.state_dict()) == list(keys_of(name))
    assert sum(p.numel() for p in model.parameters()) == FACTS[name]["params"]


@pytest.mark.parametrize("name", quick_first(VARIANTS))
def test_logits_are_those_of_the_official_code(name):
    facts, model = FACTS[name], filled(name)
    recorded = np.load(GOLDEN / f"golden_{name}.npz")
    x = torch.from_numpy(make_input(facts["input_shape"], facts["seed"]))
    assert tuple(x.shape[2:]) == model_config(name).image_size
    error32 = np.abs(model(x).numpy() - recorded["logits"]).max()
    assert error32 <= 5e-5 * facts["logits_std"]
    error64 = np.abs(model.double()(x.double()).numpy() - recorded["logits64"]).max()
    assert error64 < 1e-9


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (192, 256), (224, 224)])
@pytest.mark.parametrize("name", VARIANTS)
def test_any_multiple_of_32(name, size):
    # The batch must not leak between images, whatever the feature maps' sizes.
    model = build_model(name, **TINY)
    x = torch.from_numpy(make_input((2, 3, *size), 3))
    both = model(x)
    assert both.shape == (2, 5)
    assert torch.isfinite(both).all()
    assert torch.allclose(both[1:], model(x[1:]), atol=1e-4)


@pytest.mark.parametrize("size", [(33, 32), (224, 240), (0, 32)])
def test_other_sizes_are_refused(size):
    with pytest.raises(ModelOptionError, match=f"{size[0]}x{size[1]}") as caught:
        build_model("glnet_4g", **TINY)(torch.zeros(1, 3, *size))
    assert "32" in caught.value.remedy
    with pytest.raises(ModelOptionError, match=f"{size[0]}x{size[1]}") as caught:
        check_image_size("glnet_4g", size)
    assert "32" in caught.value.remedy


@pytest.mark.parametrize("shape", [(56, 56), (14, 14), (7, 20), (4, 1)])
def test_pooling_by_products_is_adaptive_pooling(shape):
    x = torch.from_numpy(make_input((2, 3, *shape), 1)).double()
    expected = torch.nn.functional.adaptive_avg_pool2d(x, (8, 8))
    assert torch.allclose(pool_to_grid(x, 8, 8), expected, atol=1e-12)


def test_attention_is_that_of_torch():
    ours, theirs = glmix.MultiheadAttention(96, 32), torch.nn.MultiheadAttention(96, 3)
    theirs.load_state_dict(ours.state_dict())
    x = torch.from_numpy(make_input((2, 10, 96), 2))
    by_length = x.transpose(0, 1)
    expected = theirs(by_length, by_length, by_length)[0].transpose(0, 1)
    assert torch.allclose(ours(x), expected, atol=1e-5)


def test_seeded_slots_differ():
    """With slots all alike a wrong softmax would go unseen."""
    block = build_model("glnet_4g", **TINY).stages[0].blocks[0]
    x = torch.from_numpy(make_input((1, 32, 16, 16), 5))
    tokens = block.norm1(x.flatten(2).transpose(1, 2))
    mixed = block.mix(block.slots_of(x), tokens)
    assert mixed.std(dim=1).mean() > 0.1 * mixed.std()


@pytest.mark.parametrize(
    "name", quick_first(["glnet_stl_paramslot", "glnet_16g", "glnet_4g_tklb"], quick=("glnet_16g",))
)
def test_exports_with_a_dynamic_batch(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = build_model(name, **TINY)
    x = torch.from_numpy(make_input((3, 3, 96, 64), 6))
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
    ("options", "told"),
    [
        ({"keep_rate": 0.5}, "keep_rate"),
        ({"num_slots": 60}, "not a square"),
        ({"num_slots": 0}, "positive"),
        ({"dims": (64, 128)}, "four values"),
        ({"dims": (64, 128, 250, 512)}, "divide into heads"),
        ({"kinds": ("G", "G", "GX", "A")}, "'GX'"),
        ({"depths": (1, 1, 0, 1)}, "positive"),
    ],
)
def test_options_that_make_no_network(options, told):
    with pytest.raises(ModelOptionError, match=told):
        build_model("glnet_4g", **options)


def test_learned_slots_need_no_square():
    model = build_model("glnet_4g", learned_slots=True, num_slots=10, **TINY)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
