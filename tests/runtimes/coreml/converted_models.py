"""Small networks of the families that are compiled most, with random weights and statistics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_bn(inputs: int, outputs: int, size: int, act: nn.Module, **options: int) -> nn.Sequential:
    """A convolution that keeps its frame, its normalisation and an activation."""
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act)


def head(width: int, classes: int = 10) -> nn.Sequential:
    """Pooled to a vector, and a class per output."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Residual(nn.Module):
    """Adds what its layers make of the input to the input, or to a projection of it."""

    def __init__(self, layers: nn.Module, project: nn.Module | None = None) -> None:
        super().__init__()
        self.layers, self.project = layers, project or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] or [n, tokens, c]."""
        return self.layers(x) + self.project(x)


def resnet() -> nn.Module:
    """Basic blocks, one of which halves the frame."""

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        layers = nn.Sequential(
            conv_bn(inputs, outputs, 3, nn.ReLU(), stride=stride),
            conv_bn(outputs, outputs, 3, nn.Identity()),
        )
        project = conv_bn(inputs, outputs, 1, nn.Identity(), stride=stride)
        return nn.Sequential(Residual(layers, project if stride > 1 else None), nn.ReLU())

    stem = nn.Sequential(conv_bn(3, 8, 7, nn.ReLU(), stride=2), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(stem, block(8, 8, 1), block(8, 16, 2), head(16))


class Squeeze(nn.Module):
    """Scales every channel by a gate that all of them decide."""

    def __init__(self, width: int, act: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, width // 4, 1),
            act,
            nn.Conv2d(width // 4, width, 1),
            gate,
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w]."""
        return x * self.layers(x)


def inverted(
    width: int, outputs: int, size: int, stride: int, act: Callable[[], nn.Module], gate: nn.Module
) -> nn.Module:
    """Widened, filtered per channel, gated, narrowed."""
    wide = 4 * width
    layers = nn.Sequential(
        conv_bn(width, wide, 1, act()),
        conv_bn(wide, wide, size, act(), stride=stride, groups=wide),
        gate,
        conv_bn(wide, outputs, 1, nn.Identity()),
    )
    return Residual(layers) if stride == 1 and width == outputs else layers


def mobilenet_v2() -> nn.Module:
    """Inverted residuals with relu6."""
    blocks = [(8, 8, 3, 1), (8, 16, 3, 2), (16, 16, 3, 1)]
    body = [inverted(*b, nn.ReLU6, nn.Identity()) for b in blocks]
    return nn.Sequential(conv_bn(3, 8, 3, nn.ReLU6(), stride=2), *body, head(16))


def mobilenet_v3() -> nn.Module:
    """Hard swish and hard gates."""
    gates = [Squeeze(32, nn.ReLU(), nn.Hardsigmoid()), nn.Identity()]
    body = [
        inverted(8, 8, 3, 1, nn.Hardswish, gates[0]),
        inverted(8, 16, 5, 2, nn.Hardswish, gates[1]),
    ]
    return nn.Sequential(conv_bn(3, 8, 3, nn.Hardswish(), stride=2), *body, head(16))


def efficientnet() -> nn.Module:
    """SiLU and soft gates."""
    body = [
        inverted(8, 8, 3, 1, nn.SiLU, Squeeze(32, nn.SiLU(), nn.Sigmoid())),
        inverted(8, 12, 5, 2, nn.SiLU, Squeeze(32, nn.SiLU(), nn.Sigmoid())),
    ]
    return nn.Sequential(conv_bn(3, 8, 3, nn.SiLU(), stride=2), *body, head(12))


class ChannelsLast(nn.Module):
    """Layers that see the channels as the last dimension."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w]."""
        return self.layers(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scale(nn.Module):
    """A learned factor per channel of the last dimension."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[*, c]."""
        return x * self.gamma


def convnext() -> nn.Module:
    """Large depthwise kernels and layer norms between the channels."""

    def block(width: int) -> nn.Module:
        mix = ChannelsLast(
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            Scale(width),
        )
        return Residual(nn.Sequential(nn.Conv2d(width, width, 7, padding=3, groups=width), mix))

    stem = nn.Sequential(nn.Conv2d(3, 12, 4, stride=4), ChannelsLast(nn.LayerNorm(12)))
    down = nn.Sequential(ChannelsLast(nn.LayerNorm(12)), nn.Conv2d(12, 20, 2, stride=2))
    return nn.Sequential(stem, block(12), down, block(20), head(20))


class Shuffle(nn.Module):
    """Half of the channels pass; then both halves are interleaved."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.layers = nn.Sequential(
            conv_bn(half, half, 1, nn.ReLU()),
            conv_bn(half, half, 3, nn.Identity(), groups=half),
            conv_bn(half, half, 1, nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w]."""
        left, right = x.chunk(2, dim=1)
        joined = torch.cat([left, self.layers(right)], dim=1)
        n, c, h, w = joined.shape
        return joined.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet() -> nn.Module:
    """Two shuffled blocks."""
    return nn.Sequential(conv_bn(3, 12, 3, nn.ReLU(), stride=2), Shuffle(12), Shuffle(12), head(12))


class Dense(nn.Module):
    """Every layer sees all that came before."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(w), nn.ReLU(), nn.Conv2d(w, growth, 3, padding=1))
            for w in range(width, width + 3 * growth, growth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] to [n, c + 3 * growth, h, w]."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


def densenet() -> nn.Module:
    """Normalised before the convolution, averaged between the blocks."""
    between = nn.Sequential(conv_bn(20, 10, 1, nn.ReLU()), nn.AvgPool2d(3, 2, 1))
    stem = conv_bn(3, 8, 3, nn.ReLU(), stride=2)
    return nn.Sequential(stem, Dense(8, 4), between, Dense(10, 4), head(22))


class Branches(nn.Module):
    """The training form of a RepVGG block: 3x3, 1x1 and identity, each normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.large = conv_bn(width, width, 3, nn.Identity())
        self.small = conv_bn(width, width, 1, nn.Identity())
        self.same = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w]."""
        return functional.relu(self.large(x) + self.small(x) + self.same(x))


def repvgg() -> nn.Module:
    """Two blocks of three branches."""
    return nn.Sequential(conv_bn(3, 8, 3, nn.ReLU(), stride=2), Branches(8), Branches(8), head(8))


class Segmenter(nn.Module):
    """Down, and up again both bilinearly and by a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn(3, 8, 3, nn.LeakyReLU(0.1), stride=2)
        self.second = conv_bn(8, 12, 3, nn.ELU(), stride=2)
        self.up = nn.ConvTranspose2d(12, 8, 3, stride=2, padding=1, output_padding=1)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] to [n, 4, h, w]."""
        shallow = self.first(x)
        deep = self.second(shallow)
        wide = functional.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)
        joined = torch.cat([self.up(deep) * shallow, wide[:, :8]], dim=1)
        size = (x.shape[2], x.shape[3])
        return functional.interpolate(
            self.last(joined), size=size, mode="bilinear", align_corners=True
        )


CONVOLUTIONAL: dict[str, Callable[[], nn.Module]] = {
    "resnet": resnet,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "efficientnet": efficientnet,
    "convnext": convnext,
    "shufflenet": shufflenet,
    "densenet": densenet,
    "repvgg": repvgg,
    "segmenter": Segmenter,
}
