"""The one table of limits: every precision of every target, and what overrides it for a model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attnc.compiler.errors import UsageError
from attnc.runtimes.limits import TABLE, limits_of, overridden, read_limits, table_limits


def bundle(model: str = "m", target: str = "coreml", precision: str = "fp16") -> Any:
    return SimpleNamespace(
        manifest=SimpleNamespace(model=model, target=target, precision=precision)
    )


def test_a_targets_own_line_comes_first() -> None:
    assert table_limits("coreml", "fp16").cosine == 0.9999
    assert table_limits("tensorrt", "fp16").cosine is None
    assert table_limits("cpu", "fp32") == TABLE["*", "fp32"]
    assert limits_of(bundle(), "pal4w") == TABLE["coreml", "pal4w"]


def test_an_override_is_for_its_model_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(
        '[[limits]]\nmodel = "m"\nrelative = 0.5\n'
        '[[limits]]\nmodel = "m"\nprecision = "fp32"\ndrop = 0.25\n'
    )
    with overridden(path):
        assert limits_of(bundle()).relative == 0.5
        assert limits_of(bundle()).cosine == 0.9999
        assert limits_of(bundle()).drop == TABLE["coreml", "fp16"].drop
        assert limits_of(bundle(precision="fp32")).drop == 0.25
        assert limits_of(bundle(model="other")) == TABLE["coreml", "fp16"]
    assert limits_of(bundle()) == TABLE["coreml", "fp16"]
    with overridden(None):
        assert limits_of(bundle()) == TABLE["coreml", "fp16"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "cannot read the limits"),
        ("[[limits]]\nrelative = 1.0\n", "limits.0.model"),
        ('[[limits]]\nmodel = "m"\nrelative = -1\n', "limits.0.relative"),
        ('[[limits]]\nmodel = "m"\ncolour = 1\n', "limits.0.colour"),
    ],
)
def test_files_that_are_none(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_limits(path)


def test_verify_takes_them(cli: Any, shvit_bundle: Path, tmp_path: Path) -> None:
    """A limit that float32 cannot meet fails, whatever the table says."""
    path = tmp_path / "limits.toml"
    path.write_text('[[limits]]\nmodel = "shvit_s1"\nrelative = 1e-12\n')
    assert cli("verify", shvit_bundle, "--limits", path).code == 1
