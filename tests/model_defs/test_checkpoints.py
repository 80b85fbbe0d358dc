"""Checkpoints: all published forms are read, everything else is refused with its reason."""

import argparse
import pickle

import pytest
import torch
from safetensors.torch import save_file

from attnc.model_defs.checkpoints import load_checkpoint, read_checkpoint
from attnc.model_defs.errors import CheckpointError
from attnc.model_defs.registry import build_model

SMALL = {"embed_dim": (16, 24, 32), "depth": (1, 1, 1), "partial_dim": (4, 9, 12)}


def small(seed=0, **options):
    return build_model("shvit_s1", seed=seed, **{"num_classes": 10, **SMALL, **options})


@pytest.fixture(scope="module")
def trained():
    return small(seed=7).state_dict()


def refused(path, **options):
    model = small(**options)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, path, name="shvit_s1")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    return caught.value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"model": s},
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model_ema": s},
        lambda s: {"model": s, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}},
        lambda s: {"model": {f"module.{key}": value for key, value in s.items()}},
        lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
    ],
    ids=["bare", "model", "state_dict", "ema", "training-run", "data-parallel", "no-counters"],
)
def test_torch_files(tmp_path, trained, wrap):
    path = tmp_path / "weights.pth"
    torch.save(wrap(trained), path)
    model = small(checkpoint=path)
    for key, value in model.state_dict().items():
        assert torch.equal(value, trained[key]), key


def test_safetensors(tmp_path, trained):
    path = tmp_path / "weights.safetensors"
    save_file(dict(trained), path)
    model = small(checkpoint=path)
    assert torch.equal(model.state_dict()["head.l.weight"], trained["head.l.weight"])


def test_half_precision_weights_are_widened(tmp_path, trained):
    path = tmp_path / "half.pth"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in trained.items()}, path)
    assert small(checkpoint=path).head.l.weight.dtype == torch.float32


def test_other_model_names_the_first_keys_of_each_kind(tmp_path, trained):
    other = dict(trained)
    del other["head.bn.weight"]
    other["cls_token"] = torch.zeros(1)
    other["patch_embed.0.c.weight"] = torch.zeros(5, 3, 3, 3)
    torch.save({"model": other}, tmp_path / "other.pth")
    message = refused(tmp_path / "other.pth").message
    assert "1 missing: head.bn.weight" in message
    assert "1 unexpected: cls_token" in message
    assert "patch_embed.0.c.weight (is [5, 3, 3, 3], needs [2, 3, 3, 3])" in message


def test_long_lists_are_cut(tmp_path, trained):
    torch.save({"x" + key: value for key, value in trained.items()}, tmp_path / "renamed.pth")
    message = refused(tmp_path / "renamed.pth").message
    assert f"{len(trained)} unexpected: xpatch_embed.0.c.weight" in message
    assert f"and {len(trained) - 3} more" in message


def test_class_count_is_explained(tmp_path, trained):
    torch.save(trained, tmp_path / "ten.pth")
    error = refused(tmp_path / "ten.pth", num_classes=12)
    assert "has 10 classes, the model 12" in error.message
    assert "--num-classes 10" in error.remedy


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_truncated_files(tmp_path, trained, name):
    path = tmp_path / name
    save_file(dict(trained), path) if name.endswith("safetensors") else torch.save(trained, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error = refused(path)
    assert str(path) in error.where


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "empty"), (b"not a checkpoint at all", "objects, or is no torch"), (b"PK\x03\x04", "")],
)
def test_files_that_are_no_checkpoint(tmp_path, content, told):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert told in refused(path).message


def test_pickled_code_is_not_run(tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    for number, dump in enumerate((torch.save, lambda o, p: p.write_bytes(pickle.dumps(o)))):
        path = tmp_path / f"evil{number}.pth"
        dump({"model": Evil()}, path)
        assert "pickled objects" in refused(path).message
    assert not marker.exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"model": {"a": 1}}, {}])
def test_files_without_a_state_dict(tmp_path, content):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    assert "no state dict" in refused(path).message


def test_broken_values(tmp_path, trained):
    for value, told in ((float("nan"), "NaN"), (float("inf"), "NaN or infinite")):
        state = {**trained, "head.l.bias": torch.full((10,), value)}
        torch.save(state, tmp_path / "w.pth")
        assert told in refused(tmp_path / "w.pth").message
    torch.save({**trained, "head.l.bias": torch.zeros(10, dtype=torch.int8)}, tmp_path / "w.pth")
    assert "torch.int8" in refused(tmp_path / "w.pth").message


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)


def deit(name="evit_tiny_k070", **options):
    return build_model(name, num_classes=3, **options)


def test_a_published_deit_serves_every_keep_rate(tmp_path):
    trained = deit("deit_tiny", seed=7).state_dict()
    torch.save({"model": trained}, tmp_path / "deit_tiny_patch16_224.pth")
    model = deit("evit_tiny_k050_fuse", checkpoint=tmp_path / "deit_tiny_patch16_224.pth")
    for key, value in model.state_dict().items():
        assert torch.equal(value, trained[key]), key


def test_position_embeddings_of_another_size_are_resized(tmp_path):
    trained = deit("evit_small_272_k070", seed=7)
    torch.save({"model": trained.state_dict()}, tmp_path / "larger.pth")
    model = deit("evit_small_k070", checkpoint=tmp_path / "larger.pth")
    assert torch.equal(model.blocks[0].attn.qkv.weight, trained.blocks[0].attn.qkv.weight)
    torch.testing.assert_close(model.pos_embed, trained.positions(14, 14))


def test_a_distilled_checkpoint_names_its_other_tokens(tmp_path):
    state = deit("deit_tiny").state_dict() | {"dist_token": torch.zeros(1, 1, 192)}
    state["pos_embed"] = torch.zeros(1, 198, 192)
    torch.save({"model": state}, tmp_path / "distilled.pth")
    with pytest.raises(CheckpointError, match=r"1 unexpected: dist_token.*pos_embed \(is \[1, 198"):
        deit("deit_tiny", checkpoint=tmp_path / "distilled.pth")
