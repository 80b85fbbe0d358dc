"""Sparsifiner against the recorded outputs of the official implementation.

In float32 a swapped key near the cut changes a row, and later blocks enlarge the difference: there
the first block's mask is compared, and the logits with the masks of the float64 run forced.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data.fill import make_input
from golden_files import fill, keys_of

from attnc.model_defs.errors import ModelOptionError
from attnc.model_defs.registry import build_model, model_config
from attnc.model_defs.seeded import seeded_state_dict
from attnc.model_defs.sparsifiner import INIT_GAINS, Sparsifiner, create
from attnc.model_defs.sparsifiner_options import ARCHITECTURES, Architecture, pruning_schedule

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
FACTS = json.loads((GOLDEN / "facts_sparsifiner.json").read_text())
QUICK = {"sparsifiner_s", "sparsifiner_s_thr", "sparsifiner_s_prune07_row", "sparsifiner_lvvit_s"}
VARIANTS = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(FACTS)
]
# Elements of the first block's mask that a near-tie may swap in float32.
NEAR_TIES = 8


def filled(name):
    model = create(name).eval().requires_grad_(False)
    return fill(model, keys_of(name))


def watched(model, x, forced=None):
    """Logits, and each block's mask and output; `forced` masks replace the predicted ones."""
    masks, outputs, hooks = [], [], []

    def on_mask(_module, _args, mask):
        masks.append(mask)
        return None if forced is None else forced[len(masks) - 1]

    for block in model.blocks:
        hooks.append(block.attn.mask_predictor.register_forward_hook(on_mask))
        hooks.append(block.register_forward_hook(lambda _m, _a, out: outputs.append(out[0])))
    logits = model(x).numpy()
    for hook in hooks:
        hook.remove()
    return logits, masks, outputs


def recorded_mask(recorded, block):
    """The mask of a block in the official float32 run, without the class token's row."""
    shape = recorded["mask_shape"]
    bits = np.unpackbits(recorded[f"mask_packed_{block}"])[: np.prod(shape)]
    return bits.reshape(shape)[:, :, 1:].astype(bool)


def test_every_recorded_variant_is_listed():
    assert set(FACTS) == set(ARCHITECTURES) - {"sparsifiner_nano"}


@pytest.mark.parametrize("name", sorted(FACTS))
def test_state_dict_is_the_published_one(name):
    with torch.device("meta"):
        model = create(name)
    assert {key: tuple(v.shape) for key, v in model.state_dict().items()} == keys_of(name)
    assert list(model.state_dict()) == list(keys_of(name))
    assert sum(p.numel() for p in model.parameters()) == FACTS[name]["params"]


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_are_those_of_the_official_code(name):
    facts, model = FACTS[name], filled(name)
    recorded = np.load(GOLDEN / f"golden_{name}.npz")
    x = torch.from_numpy(make_input(facts["input_shape"], facts["seed"]))
    assert tuple(x.shape[2:]) == model_config(name).image_size

    _, masks32, outputs32 = watched(model, x)
    logits64, masks64, outputs64 = watched(model.double(), x.double())
    assert np.abs(logits64 - recorded["logits64"]).max() < 1e-9
    for i, output in enumerate(outputs64):
        assert recorded["names"][i + 1] == f"blocks.{i}"
        assert np.abs(output.numpy().ravel()[:8] - recorded["first8_64"][i + 1]).max() < 1e-9
        assert output.std(unbiased=False).item() == pytest.approx(recorded["std64"][i + 1], 1e-9)

    if "mask_packed_0" in recorded:
        first = recorded_mask(recorded, 0)
        assert np.count_nonzero(first != masks64[0].numpy()) <= recorded["mask_flips"][0]
        assert np.count_nonzero(first != masks32[0].numpy()) <= NEAR_TIES
    for here, there, out32, out64 in zip(masks32, masks64, outputs32, outputs64, strict=True):
        if not torch.equal(here, there):
            break
        assert (out32 - out64).abs().max() < 1e-4
    forced, _, _ = watched(model.float(), x, masks64)
    assert np.abs(forced - recorded["logits64"]).max() < 5e-5


def test_pruning_schedule_is_static():
    schedule = pruning_schedule(ARCHITECTURES["sparsifiner_s_prune07"])
    assert [p.entering for p in schedule] == [196] * 4 + [138] * 3 + [97] * 3 + [68] * 2
    assert {i: p.leaving for i, p in enumerate(schedule) if p.leaving} == {3: 138, 6: 97, 9: 68}
    assert {p.budget for p in schedule} == {50}
    few = Architecture(token_pruning_loc=(3, 6, 9), token_keep_rate=0.5)
    assert [p.budget for p in pruning_schedule(few)] == [50] * 7 + [49] * 3 + [25] * 2
    assert [p.leaving for p in pruning_schedule(ARCHITECTURES["sparsifiner_s"])] == [None] * 12


def test_few_active_tokens_leave_few_keys():
    """The budget shrinks with the tokens, and pruned keys are in no row but the class token's."""
    model = build_model(
        "sparsifiner_s", image_size=96, token_pruning_loc=[3, 6], token_keep_rate=0.1, coef_topk=4
    )
    x = torch.from_numpy(make_input((2, 3, 96, 96), 3))
    _, masks, outputs = watched(model, x)
    assert [int(mask.sum(-1).max()) for mask in masks] == [10] * 4 + [4] * 3 + [1] * 5
    for before, mask in ((3, masks[4]), (6, masks[7])):
        inactive = outputs[before].abs().sum(-1) == 0
        assert inactive.sum(1).tolist() == [36 - (4 if before == 3 else 1)] * 2
        assert not (mask & inactive[:, None, None, :]).any()


def test_shared_projection_takes_the_second_name_of_a_checkpoint():
    model = create("sparsifiner_s_share")
    state = dict(model.state_dict())
    name = "blocks.4.attn.mask_predictor.proj"
    state[f"{name}_n"] = torch.ones(197, 32)
    state[f"{name}_back_n"] = torch.full((197, 32), 2.0)
    model.load_state_dict(state)
    assert torch.equal(model.state_dict()[f"{name}_n"], torch.full((197, 32), 2.0))


def test_seeded_scores_decide_the_masks():
    """With seeded weights, too, ties at zero must not choose the keys."""
    model = build_model("sparsifiner_s")
    scores = []
    predictor = model.blocks[0].attn.mask_predictor
    predictor.register_forward_pre_hook(lambda _m, args: scores.append(predictor.scores(*args)))
    model(torch.from_numpy(make_input((1, 3, 224, 224), 1)))
    assert ((scores[0] > 0).sum(-1) > predictor.budget).all()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"coef_topk": 4}, id="topk", marks=pytest.mark.slow),
        pytest.param(
            {"coef_threshold": 0.05, "score_threshold": 0.03},
            id="threshold",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {
                "coef_topk": 4,
                "token_pruning_loc": (0,),
                "token_keep_rate": 0.9,
                "prune_attn_matrix_row": True,
            },
            id="pruning",
        ),
    ],
)
def test_exports_with_a_dynamic_batch(options, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = Sparsifiner(Architecture(image_size=96, **options), 5).eval().requires_grad_(False)
    model.blocks = model.blocks[:2]
    model.load_state_dict(seeded_state_dict(model.state_dict(), 0, INIT_GAINS))
    x = torch.from_numpy(make_input((2, 3, 96, 96), 5))
    program = torch.onnx.export(
        model, (x,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False
    )
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch in (1, 3):
        x = torch.from_numpy(make_input((batch, 3, 96, 96), 6))
        (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert np.abs(logits - model(x).numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("sparsifiner_s", {"attn_keep_rate": 0.0}, "keep rate 0.0"),
        ("sparsifiner_s", {"token_keep_rate": 1.5}, "1.5"),
        ("sparsifiner_s", {"token_pruning_loc": [3, 12]}, "no block 12"),
        ("sparsifiner_lvvit_s", {"token_pruning_loc": [3]}, "prunes no tokens"),
        ("sparsifiner_s", {"coef_topk": 33}, "33 of 32"),
        ("sparsifiner_s", {"image_size": 230}, "not made of whole patches"),
        ("sparsifiner_s", {"reduce_n_factor": 200}, "no rank"),
        ("sparsifiner_s", {"score_threshold": "low"}, "score_threshold"),
        ("sparsifiner_s", {"share_inout_proj": 1}, "cannot be"),
        ("sparsifiner_s", {"backbone": "x"}, "no option 'backbone'"),
    ],
)
def test_options_that_make_no_network(name, options, told):
    with pytest.raises(ModelOptionError, match=told):
        build_model(name, **options)


def test_pictures_of_another_size():
    with pytest.raises(ModelOptionError, match="240x224"):
        build_model("sparsifiner_s")(torch.zeros(1, 3, 240, 224))
