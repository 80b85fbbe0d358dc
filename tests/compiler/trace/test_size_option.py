"""A model that is made for one picture size is made for the size that is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from attnc.compiler.errors import UsageError
from attnc.compiler.trace.network import Network, from_registry
from attnc.compiler.trace.request import check_request

NAME = "sparsifiner_s"


def network(pixels: Any, **options: Any) -> Network:
    options = {"coef_topk": 2, **options}
    request = check_request(
        image_size=pixels,
        batch=1,
        num_classes=10,
        checkpoint=None,
        seed=0,
        options=options,
    )
    return from_registry(NAME, request)


def test_the_image_size_reaches_the_models_option() -> None:
    made = network(64)
    assert made.module.image_size == 64
    assert made.image_size == (64, 64)
    assert made.source.options["image_size"] == 64


def test_the_option_alone_sets_the_image_size() -> None:
    made = network(None, image_size=80)
    assert made.image_size == (80, 80)
    assert made.module.image_size == 80


def test_sizes_that_disagree_are_refused() -> None:
    with pytest.raises(UsageError, match="the option image_size is 80, but the image size 64"):
        network(64, image_size=80)


def test_pictures_that_are_not_square_are_refused() -> None:
    with pytest.raises(UsageError, match="takes square images only, not 64x80"):
        network((64, 80))
