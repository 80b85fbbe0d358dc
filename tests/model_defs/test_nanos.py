"""The small variants: real weights that come with the package, and how they stand in for seeds."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

import attnc
from attnc.compiler.errors import UsageError
from attnc.compiler.source import rebuild
from attnc.model_defs import registry
from attnc.model_defs.errors import CheckpointError, ModelOptionError
from attnc.model_defs.evit import ARCHITECTURES as EVITS
from attnc.model_defs.evit import block_rates, token_counts
from attnc.model_defs.registry import FAMILIES, build_model, model_config, shipped_weights
from attnc.tools.train.fitting import accuracy
from attnc.tools.train.pictures import load_pictures

NANOS = tuple(name for family in FAMILIES for name in family.variants if name.endswith("_nano"))


def test_there_is_one_of_each_family():
    assert [model_config(name).family for name in NANOS] == [family.module for family in FAMILIES]


def test_the_others_have_no_weights():
    names = [name for family in FAMILIES for name in family.variants if name not in NANOS]
    assert all(shipped_weights(name) is None for name in names)


@pytest.mark.parametrize("name", NANOS)
def test_size_and_accuracy(name):
    pytest.importorskip("sklearn")
    assert shipped_weights(name).stat().st_size <= 2_000_000
    model, config = build_model(name), model_config(name)
    assert 100_000 <= sum(p.numel() for p in model.parameters()) <= 500_000
    assert (config.image_size, config.num_classes) == ((64, 64), 10)
    assert accuracy(model, load_pictures(config, "held-out")) >= 0.97


def test_evit_drops_tokens():
    arch = EVITS["evit_nano"]
    assert token_counts((64, 64), block_rates(arch, "evit_nano"), True) == (
        17,
        17,
        14,
        14,
        12,
        12,
        12,
    )


def test_seeds_and_checkpoints_take_their_place(tmp_path):
    trained = build_model("shvit_nano").state_dict()
    seeded = build_model("shvit_nano", seed=1).state_dict()
    assert not torch.equal(trained["head.l.weight"], seeded["head.l.weight"])
    torch.save(seeded, tmp_path / "own.pth")
    own = build_model("shvit_nano", checkpoint=tmp_path / "own.pth").state_dict()
    assert all(torch.equal(own[key], seeded[key]) for key in own)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_classes": 4}, "are for 10 classes, not 4"),
        ({"dims": [32, 48, 80]}, "do not fit its options: the checkpoint is not one of tic_nano"),
    ],
)
def test_weights_that_do_not_fit_are_refused(options, said):
    with pytest.raises(ModelOptionError, match=said) as caught:
        build_model("tic_nano", **options)
    assert "seed 1" in caught.value.remedy
    assert build_model("tic_nano", seed=1, **options) is not None


def test_a_broken_installation_is_told(monkeypatch):
    config = replace(model_config("tic_nano"), weights="gone.safetensors")
    monkeypatch.setitem(registry._module("tic_nano").CONFIGS, "tic_nano", config)
    with pytest.raises(CheckpointError, match="missing from the installation"):
        build_model("tic_nano")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """SHViT's, for any number of pictures; not to be changed."""
    return attnc.export("shvit_nano", output=tmp_path_factory.mktemp("nano") / "b", batch="dynamic")


def test_a_bundle_is_right_and_finds_its_source_anywhere(cli, bundle, tmp_path):
    pytest.importorskip("sklearn")
    source = bundle.manifest.source
    assert source.checkpoint_name == "attnc:shvit_nano.safetensors"
    assert source.checkpoint_sha256 is not None
    assert source.seed is None
    moved = tmp_path / "there"
    shutil.copytree(bundle.path, moved, ignore=shutil.ignore_patterns("readings.json"))
    report = json.loads(cli("verify", moved, "--dataset", "digits", "--json", "-").out)
    assert report["ok"]
    assert report["accuracy"]["source"]["top1"] >= 0.97
    assert report["accuracy"]["agreement"] == 1.0
    assert (report["checks"][-1]["name"], report["checks"][-1]["status"]) == (
        "accuracy/digits",
        "verified",
    )


def test_another_version_of_the_weights_is_not_the_source(bundle, monkeypatch):
    config = replace(model_config("shvit_nano"), weights="")
    monkeypatch.setitem(registry._module("shvit_nano").CONFIGS, "shvit_nano", config)
    with pytest.raises(UsageError, match="has other weights now"):
        rebuild(bundle)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", ["cpu", "web", "android", "coreml"])
@pytest.mark.parametrize("name", NANOS)
def test_every_target_keeps_the_accuracy(cli, tmp_path, name, target, precision):
    if precision == "fp16" and target != "coreml":
        pytest.skip("written in float32")
    bundle = attnc.export(name, target=target, precision=precision, output=tmp_path / "b")
    report = json.loads(cli("verify", bundle.path, "--dataset", "digits", "--json", "-").out)
    assert [check for check in report["checks"] if check["status"] == "failed"] == []
    assert report["accuracy"]["bundle"]["top1"] >= 0.97
    assert report["accuracy"]["agreement"] >= 0.99
