"""What a model expects at its input, kept beside its code and without torch.

The compiler copies these facts into the bundle, so that pictures are prepared there as in training.
"""

from __future__ import annotations

from dataclasses import dataclass

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelConfig:
    """Defaults of one published variant.

    `image_size` is (height, width) in pixels, the resolution it was trained for; `minimum_size` the
    smallest height and width it takes, `size_multiple` what must divide both, and `in_channels` the
    depth of the input (single layers take feature maps). `size_option` names the option of `create`
    that makes the variant for other (square) pictures; empty if one network takes all sizes.
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
