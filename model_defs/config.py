"""What a model expects at its input, kept beside its code and without torch.

The compiler copies these facts into the bundle, so that pictures are prepared there as in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DIGITS_MEAN = (0.309, 0.309, 0.309)
DIGITS_STD = (0.349, 0.349, 0.349)


@dataclass(frozen=True)
class ModelConfig:
    """Defaults of one published variant.

    `image_size` is (height, width) in pixels, the resolution it was trained for; `minimum_size` the
    smallest height and width it takes, `size_multiple` what must divide both, and `in_channels` the
    depth of the input (single layers take feature maps). `size_option` names the option of `create`
    that makes the variant for other (square) pictures; empty if one network takes all sizes.
    `weights` names the trained weights that lie in the folder `weights` beside the family's file,
    and are the default; empty for the variants whose weights cannot be shipped.
    A picture is resized so that its short side is `round(size / crop_pct)`, then cropped in the
    middle, scaled to [0, 1] and normalised with `mean` and `std` (RGB order). `interpolation` is
    "bicubic" or "bilinear".
    """

    name: str
    family: str
    image_size: tuple[int, int] = (224, 224)
    minimum_size: int = 64
    num_classes: int = 1000
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    source: str = ""
    size_multiple: int = 1
    in_channels: int = 3
    size_option: str = ""
    weights: str = ""


def nano_config(name: str, family: str, **facts: Any) -> ModelConfig:
    """A small variant that this project trains itself, on 64x64 pictures of handwritten digits.

    Mean and deviation are those of scikit-learn's digits; `facts` are more fields.
    """
    return ModelConfig(
        name=name,
        family=family,
        image_size=(64, 64),
        num_classes=10,
        mean=DIGITS_MEAN,
        std=DIGITS_STD,
        crop_pct=1.0,
        source="trained by attnc.tools.train on scikit-learn's digits",
        weights=f"{name}.safetensors",
        **facts,
    )
