"""Trainings of the small variants: reproducible, recorded, refused where they cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from attnc.compiler.errors import UsageError
from attnc.model_defs.registry import create_model, model_config, shipped_weights
from attnc.tools.train import __main__ as command
from attnc.tools.train import fitting, pictures, record
from attnc.tools.train.fitting import fit, repeatable
from attnc.tools.train.mask_loss import predictor_losses
from attnc.tools.train.recipe import RECIPES, recipe_of
from attnc.tools.train.record import CURVES, read_records
from attnc.tools.train.table import text_of
from attnc.tools.train.training import train

pytest.importorskip("sklearn")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 16th picture, so that an epoch is short."""
    load = pictures.load_pictures

    def sparse(config: Any, part: Any) -> Any:
        found = load(config, part)
        return pictures.Pictures(found.values[::16], found.labels[::16], found.paper)

    monkeypatch.setattr(fitting, "load_pictures", sparse)


@pytest.mark.usefixtures("few")
def test_two_epochs_repeat_to_the_byte(tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        torch.manual_seed(len(written))  # whatever came before does not matter
        weights, made = train("evit_nano", recipe_of("evit_nano", 2), 3, folder)
        written.append((weights.read_bytes(), made.read_bytes()))
    assert written[0] == written[1]
    document = json.loads(written[0][1])
    assert [epoch["epoch"] for epoch in document["curve"]] == [1, 2]
    assert document["seed"] == 3
    assert sorted(path.name for path in tmp_path.glob("a/*")) == [
        "evit_nano.json",
        "evit_nano.safetensors",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_epochs_of_all_pictures_repeat(name: str) -> None:
    first, again = (fit(name, recipe_of(name, 2), 0) for _ in range(2))
    assert first.curve == again.curve
    expected = again.module.state_dict()
    assert all(
        torch.equal(value, expected[key]) for key, value in first.module.state_dict().items()
    )


@pytest.mark.usefixtures("few")
def test_another_seed_is_another_training() -> None:
    recipe = recipe_of("sparsifiner_nano", 1)
    first, other = (fit("sparsifiner_nano", recipe, seed) for seed in (0, 1))
    assert first.curve != other.curve


def test_torch_is_left_as_it_was() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with repeatable(0):
        torch.rand(7)
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_shifts_bring_in_paper() -> None:
    values = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4) + 10
    paper = torch.tensor([-1.0, -2.0, -3.0])
    draw = torch.Generator().manual_seed(0)
    moved = torch.cat([pictures.shifted(values, 1, paper, draw) for _ in range(20)])
    assert moved.shape == (40, 3, 4, 4)
    corners = moved[:, :, 1:3, 1:3]
    assert (corners >= 10).all()
    assert {float(v) for v in moved[:, 1].flatten() if v < 10} == {-2.0}


def test_predictors_learn_from_their_own_loss_only() -> None:
    model = create_model("sparsifiner_nano")
    with predictor_losses(model) as losses:
        model(torch.randn(2, 3, 64, 64))
    assert len(losses) == 6
    torch.stack(losses).sum().backward()
    named = dict(model.named_parameters())
    assert named["blocks.0.attn.mask_predictor.proj_n"].grad is not None
    assert named["blocks.0.attn.qkv.weight"].grad is None
    with predictor_losses(model) as losses:
        pass
    model(torch.randn(1, 3, 64, 64))
    assert losses == []


def test_a_variant_that_is_too_large_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="are the most"):
        record.write_weights(create_model("tic_nano"), tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shvit_s1"], "no recipe for 'shvit_s1'"),
        (["shvit_nano", "--epochs", "0"], "0 epochs"),
        (["shvit_nano", "--all"], "one of both"),
        ([], "one of both"),
    ],
)
def test_what_cannot_be_trained(arguments: list[str], said: str, tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(command.main)
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "o")])
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_records_are_of_the_shipped_weights(name: str) -> None:
    document = json.loads((CURVES / f"{name}.json").read_text("utf-8"))
    weights = shipped_weights(name)
    assert weights is not None
    assert document["weights"]["sha256"] == record.file_sha256(weights)
    assert document["weights"]["bytes"] == weights.stat().st_size
    assert document["recipe"] == recipe_of(name).as_json()
    assert len(document["curve"]) == document["recipe"]["epochs"]
    assert document["held_out"] == document["curve"][-1]["held_out"] >= 0.97
    assert model_config(name).weights == document["weights"]["file"]


def test_the_page_has_the_table_of_the_records() -> None:
    assert text_of(read_records()) in (ROOT / "docs" / "accuracy.md").read_text("utf-8")


def test_a_folder_without_records(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no records"):
        read_records(tmp_path)
