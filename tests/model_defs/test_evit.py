"""EViT and DeiT against the recorded outputs of the official implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data.fill import make_input
from golden_files import fill

from attnc.model_defs.errors import ModelOptionError
from attnc.model_defs.evit import (
    ARCHITECTURES,
    INIT_GAINS,
    Architecture,
    EViT,
    block_rates,
    create,
    token_counts,
)
from attnc.model_defs.registry import build_model, model_config
from attnc.model_defs.seeded import seeded_state_dict

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
FACTS = json.loads((GOLDEN / "facts_evit.json").read_text())
QUICK = {
    "evit_tiny_k050_fuse",
    "evit_tiny_k070",
    "evit_tiny_k070_fuse",
    "evit_tiny_k090_fuse",
    "evit_tiny_k100",
    "evit_small_304_k050_fuse",
    "evit_small_k070_fuse",
}
VARIANTS = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(FACTS)
]
# Keep rate and fusion change no parameter, so the keys are recorded once for each backbone.
BACKBONES = sorted(path.stem[len("keys_") :] for path in GOLDEN.glob("keys_evit_*.json"))


def keys_of(name):
    backbone = name if name in BACKBONES else name.removesuffix("_fuse")
    if backbone not in BACKBONES:
        backbone = f"evit_{name.split('_')[1]}_k100"
    recorded = json.loads((GOLDEN / f"keys_{backbone}.json").read_text())
    return {key: tuple(shape) for key, shape in recorded.items()}


def filled(name, **options):
    model = build_model(name, **options)
    return fill(model, keys_of(name))


def outputs_of(model, names, x):
    """Outputs of the modules `names` by name, and the logits."""
    seen, hooks = {}, []
    for name in names:
        module = model.get_submodule(name)
        keep = lambda _module, _args, out, name=name: seen.__setitem__(name, out)  # noqa: E731
        hooks.append(module.register_forward_hook(keep))
    logits = model(x)
    for hook in hooks:
        hook.remove()
    return seen, logits


def test_every_recorded_variant_is_listed():
    published = {name for name in ARCHITECTURES if name.startswith("evit_")} - {"evit_nano"}
    assert set(FACTS) == published


@pytest.mark.parametrize("name", BACKBONES)
def test_state_dict_is_the_published_one(name):
    with torch.device("meta"):
        model = create(name)
    assert {key: tuple(v.shape) for key, v in model.state_dict().items()} == keys_of(name)
    assert list(model.state_dict()) == list(keys_of(name))
    assert sum(p.numel() for p in model.parameters()) == FACTS[name]["params"]


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_the_official_code(name):
    facts, model = FACTS[name], filled(name)
    recorded = np.load(GOLDEN / f"golden_{name}.npz")
    x = torch.from_numpy(make_input(facts["input_shape"], facts["seed"]))
    assert tuple(x.shape[2:]) == model_config(name).image_size
    assert np.abs(model(x).numpy() - recorded["logits"]).max() <= 5e-5
    names = recorded["names"].tolist()
    seen, logits = outputs_of(model.double(), names, x.double())
    assert np.abs(logits.numpy() - recorded["logits64"]).max() < 1e-9
    for i, module in enumerate(names):
        first = seen[module].numpy().ravel()[:8]
        assert np.abs(first - recorded["first8_64"][i]).max() < 1e-9, module


@pytest.mark.parametrize("name", sorted(FACTS))
def test_token_counts_follow_from_the_input_size(name):
    arch = ARCHITECTURES[name]
    rates = block_rates(arch, name)
    counts = token_counts(model_config(name).image_size, rates, arch.fuse_token)
    assert list(counts[:-1]) == FACTS[name]["tokens_in"]


def test_the_kept_tokens_are_those_of_the_official_code():
    name = "evit_tiny_k070_fuse"
    recorded, model = np.load(GOLDEN / f"golden_{name}.npz"), filled(name).double()
    scores = {}
    for block in (3, 6, 9):
        keep = lambda _module, args, block=block: scores.__setitem__(block, args[1])  # noqa: E731
        model.blocks[block].select.register_forward_pre_hook(keep)
    model(torch.from_numpy(make_input((2, 3, 224, 224), 0)).double())
    for image in range(2):
        present = list(range(196))
        for block in (3, 6, 9):
            kept = recorded[f"idx_{block}"].shape[1]
            order = scores[block][image].argsort(descending=True)[:kept].tolist()
            present = [present[i] for i in order]
            assert sorted(present) == recorded[f"idx_{block}"][image].tolist()
            present.append(1000 + block)


def test_deit_is_evit_that_keeps_all():
    x = torch.from_numpy(make_input((1, 3, 64, 64), 1))
    dense = filled("evit_tiny_k100")(x)
    deit = build_model("deit_tiny")
    deit.load_state_dict(filled("evit_tiny_k100").state_dict())
    assert torch.equal(deit(x), dense)
    assert not torch.allclose(filled("evit_tiny_k050")(x), dense, atol=1e-3)


def test_per_block_rates_and_locations_say_the_same():
    x = torch.from_numpy(make_input((2, 3, 96, 96), 2))
    located = filled("deit_tiny", keep_rate=0.6, drop_loc=[1, 5], fuse_token=True)
    rates = [0.6 if block in (1, 5) else 1.0 for block in range(12)]
    listed = filled("deit_tiny", keep_rate=rates, fuse_token=True)
    assert torch.equal(located(x), listed(x))
    assert not torch.allclose(filled("evit_tiny_k060_fuse")(x), listed(x), atol=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (32, 16), (64, 96), (240, 224)])
@pytest.mark.parametrize("name", ["evit_tiny_k050", "evit_tiny_k050_fuse"])
def test_any_multiple_of_the_patch(name, size):
    # One token stays one token, and the batch must not leak between images.
    model = build_model(name, num_classes=7)
    x = torch.from_numpy(make_input((2, 3, *size), 3))
    both = model(x)
    assert both.shape == (2, 7)
    assert torch.allclose(both[1:], model(x[1:]), atol=1e-4)


def test_position_embeddings_are_resized_over_the_picture():
    """A ramp stays a ramp away from the border, and the class token's embedding stays."""
    model = build_model("deit_tiny")
    rows, columns = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
    model.pos_embed[0, 1:, 0] = rows.flatten()
    model.pos_embed[0, 1:, 1] = columns.flatten()
    resized = model.positions(28, 7)
    assert torch.equal(resized[:, 0], model.pos_embed[:, 0])
    grid = resized[0, 1:, :2].reshape(28, 7, 2)
    assert torch.allclose(grid[6:-6, 3, 0], torch.arange(6.0, 22) / 2 - 0.25, atol=0.05)
    assert torch.allclose(grid[10, 2:-2, 1], torch.arange(2.0, 5) * 2 + 0.5, atol=1e-4)


def test_exports_with_a_dynamic_batch(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    arch = Architecture(128, 64, fuse_token=True)
    model = EViT(arch, (0.7, 1.0, 0.5), 5).eval()
    model.load_state_dict(seeded_state_dict(model.state_dict(), 0, INIT_GAINS))
    x = torch.from_numpy(make_input((2, 3, 64, 64), 5))
    program = torch.onnx.export(
        model, (x,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False
    )
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch in (1, 3):
        x = torch.from_numpy(make_input((batch, 3, 64, 64), 6))
        (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert np.abs(logits - model(x).detach().numpy()).max() < 5e-5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"keep_rate": 0}, "keep rate 0 "),
        ({"keep_rate": 1.01}, "1.01"),
        ({"keep_rate": float("nan")}, "nan"),
        ({"keep_rate": "0.7"}, "'0.7'"),
        ({"keep_rate": [0.7] * 11}, "11 keep rates"),
        ({"keep_rate": [1.0] * 11 + [-0.5]}, "-0.5"),
        ({"keep_rate": [0.7] * 12, "drop_loc": [3]}, "drop_loc"),
        ({"keep_rate": 0.7, "drop_loc": (3, 12)}, "no block 12"),
        ({"keep_rate": 0.7, "drop_loc": (-1,)}, "no block -1"),
        ({"keep_rate": 0.7, "drop_loc": (3, 3)}, "different blocks"),
        ({"keep_rate": 0.7, "drop_loc": 3}, "no list"),
        ({"fuse_token": "no"}, "fuse_token"),
        ({"dim": 100}, "no option 'dim'"),
    ],
)
def test_options_that_make_no_network(options, told):
    with pytest.raises(ModelOptionError, match=told):
        build_model("deit_tiny", **options)


def test_pictures_that_are_not_whole_patches():
    with pytest.raises(ModelOptionError, match="224x230"):
        build_model("deit_tiny")(torch.zeros(1, 3, 224, 230))
