"""The registry: names, seeds, sizes, third parties."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attnc.model_defs import registry
from attnc.model_defs.config import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from attnc.model_defs.errors import ModelOptionError, UnknownModelError
from attnc.model_defs.registry import build_model, check_image_size, list_models, model_config
from attnc.model_defs.seeded import seeded_tensor


def test_listed_names_are_the_configured_ones():
    assert len(set(list_models())) == len(list_models())
    for family in registry.FAMILIES:
        assert set(family.variants) == set(registry._module(family.variants[0]).CONFIGS)
    for name in list_models():
        assert model_config(name).name == name


def test_listing_needs_no_torch():
    code = (
        "import sys; from attnc.model_defs.registry import list_models; list_models();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownModelError) as caught:
        build_model("shvit-s3")
    assert "did you mean 'shvit_s3'?" in caught.value.remedy
    assert "shvit_s1" in caught.value.remedy


def test_models_come_in_eval_mode_and_know_their_input():
    model = build_model("shvit_s4", num_classes=4)
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.attnc_config.image_size == (256, 256)


def test_seeds_are_reproducible_and_leave_torch_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (build_model("shvit_s1", seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.l.weight"], other["head.l.weight"])


def test_seeded_values_are_fixed_for_good():
    """Bundles of seeded models are compared by hash across machines and versions."""
    values = seeded_tensor("head.l.weight", torch.zeros(2, 3), seed=0).numpy().ravel()
    expected = [-0.208847, -0.923143, 0.935557, 0.342167, 0.058399, 1.29017]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_seeded_networks_tell_pictures_apart():
    """A top-1 comparison must mean something: no dead or constant outputs."""
    sklearn = pytest.importorskip("sklearn.datasets")
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    pictures = [
        (torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255 - mean) / std
        for picture in sklearn.load_sample_images().images
    ]
    for name in ("shvit_s1", "shvit_s4"):
        size = model_config(name).image_size
        x = torch.cat([torch.nn.functional.interpolate(p, size, mode="bilinear") for p in pictures])
        logits = build_model(name)(x)
        assert torch.isfinite(logits).all()
        assert (logits[0] - logits[1]).std() > 0.4 * logits.std()
        assert logits[0].argmax() != logits[1].argmax()


def test_image_size_is_checked():
    check_image_size("shvit_s1", (64, 300))
    with pytest.raises(ModelOptionError, match="63x300") as caught:
        check_image_size("shvit_s1", (63, 300))
    assert "64" in caught.value.remedy


def test_bad_seed():
    with pytest.raises(ModelOptionError, match="seed"):
        build_model("shvit_s1", seed=-1)


def test_third_parties_come_by_entry_point(monkeypatch):
    theirs = SimpleNamespace(
        CONFIGS={"their_net": ModelConfig("their_net", "theirs", image_size=(32, 32))},
        create=lambda name, num_classes: torch.nn.Linear(4, num_classes),
    )
    point = SimpleNamespace(load=lambda: theirs)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry._third_party.cache_clear()
    try:
        assert "their_net" in list_models()
        assert build_model("their_net", num_classes=3).out_features == 3
    finally:
        registry._third_party.cache_clear()
