"""SHViT against the recorded outputs of the official implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data.fill import make_input
from golden_files import fill, keys_of

from attnc.model_defs.errors import ModelOptionError
from attnc.model_defs.registry import build_model, model_config

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
FACTS = json.loads((GOLDEN / "facts_shvit.json").read_text())
VARIANTS = sorted(FACTS)


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
def test_logits_are_those_of_the_official_code(name):
    facts, model = FACTS[name], filled(name)
    recorded = np.load(GOLDEN / f"golden_{name}.npz")
    x = torch.from_numpy(make_input(facts["input_shape"], facts["seed"]))
    assert tuple(x.shape[2:]) == model_config(name).image_size
    error32 = np.abs(model(x).numpy() - recorded["logits"]).max()
    assert error32 <= 5e-5 * facts["logits_std"]
    error64 = np.abs(model.double()(x.double()).numpy() - recorded["logits64"]).max()
    assert error64 < 1e-9


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (224, 224), (256, 256), (320, 192)])
def test_any_size_from_64_on(size):
    # The batch must not leak between images, whatever the feature maps' sizes.
    model = build_model("shvit_s2", num_classes=7)
    x = torch.from_numpy(make_input((2, 3, *size), 3))
    both = model(x)
    assert both.shape == (2, 7)
    assert torch.allclose(both[1:], model(x[1:]), atol=1e-4)


def test_attention_sees_every_position():
    """Rolling the picture by a stride of 64 pixels moves tokens; the pooled logits change little
    only if no position is special: a positional term or a wrong flattening would show."""
    model = build_model("shvit_s1", num_classes=5)
    attention = model.blocks2[3].mixer
    x = torch.from_numpy(make_input((1, 224, 5, 7), 4))
    rolled = torch.roll(x, shifts=(2, 3), dims=(2, 3))
    assert torch.allclose(attention(rolled), torch.roll(attention(x), (2, 3), (2, 3)), atol=1e-5)


def test_widths_are_options():
    model = build_model(
        "shvit_s1", num_classes=3, embed_dim=(16, 20, 28), depth=(1, 1, 1), partial_dim=(4, 5, 7)
    )
    assert model(torch.zeros(1, 3, 64, 80)).shape == (1, 3)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"keep_rate": 0.5}, "keep_rate"),
        ({"partial_dim": (32, 48)}, "three values"),
        ({"partial_dim": (32, 48, 400)}, "400"),
        ({"embed_dim": (30, 40, 50)}, "multiple of 8"),
        ({"types": ("i", "s", "x")}, "'x'"),
        ({"num_classes": 0}, "positive"),
    ],
)
def test_options_that_make_no_network(options, told):
    with pytest.raises(ModelOptionError, match=told):
        build_model("shvit_s1", **options)
