"""A second SHViT, structured as other people write it, that takes the published state_dict.

Each `Habits` field is one thing authors differ in: how q, k, v are cut out and multiplied, how the
norm over one group is spelled, where the ReLU goes, how space is averaged; never the function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Habits:
    """attention: columns, tokens, narrow, keys_first, sdpa. norm: group, manual, instance, layer.

    activation: after (the concatenation), before. pool: mean, adaptive. `fused` is the official
    reparametrisation: no BatchNorm, no addition around depthwise convolutions.
    """

    attention: str = "columns"
    norm: str = "group"
    activation: str = "after"
    pool: str = "mean"
    fused: bool = False


class ConvNorm(nn.Sequential):
    def __init__(self, a, b, k=1, s=1, g=1):
        super().__init__()
        self.add_module("c", nn.Conv2d(a, b, k, s, k // 2, groups=g, bias=False))
        self.add_module("bn", nn.BatchNorm2d(b))

    def fuse(self) -> nn.Conv2d:
        c, bn = self.c, self.bn
        scale = bn.weight / (bn.running_var + bn.eps) ** 0.5
        out = nn.Conv2d(
            c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, groups=c.groups
        )
        out.weight.data = c.weight * scale[:, None, None, None]
        out.bias.data = bn.bias - bn.running_mean * scale
        return out


class Skip(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, x):
        return self.m(x) + x

    def fuse(self) -> nn.Module:
        if not isinstance(self.m, ConvNorm) or self.m.c.groups == 1:
            return self
        conv = self.m.fuse()
        conv.weight.data[:, 0, 1, 1] += 1
        return conv


class Mlp(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.pw1, self.pw2 = ConvNorm(d, 2 * d), ConvNorm(2 * d, d)

    def forward(self, x):
        return self.pw2(F.relu(self.pw1(x)))


class Mixer(nn.Module):
    def __init__(self, d, qk, p, habits: Habits):
        super().__init__()
        self.qk, self.p, self.habits = qk, p, habits
        self.pre_norm = nn.GroupNorm(1, p)
        self.qkv = ConvNorm(p, 2 * qk + p)
        self.proj = nn.Sequential(nn.Identity(), ConvNorm(d, d))

    def normalise(self, x: Tensor) -> Tensor:
        gn, kind = self.pre_norm, self.habits.norm
        weight, bias = gn.weight.view(1, -1, 1, 1), gn.bias.view(1, -1, 1, 1)
        if kind == "group":
            return gn(x)
        if kind == "manual":
            mean = x.mean(dim=(1, 2, 3), keepdim=True)
            var = (x - mean).pow(2).mean(dim=(1, 2, 3), keepdim=True)
            return (x - mean) / torch.sqrt(var + gn.eps) * weight + bias
        if kind == "instance":
            y = F.instance_norm(x.reshape(x.shape[0], 1, -1), eps=gn.eps)
            return y.reshape(x.shape) * weight + bias
        return F.layer_norm(x, x.shape[1:], eps=gn.eps) * weight + bias

    def attend(self, qkv: Tensor, h: int, w: int) -> Tensor:
        b, qk, p, kind = qkv.shape[0], self.qk, self.p, self.habits.attention
        if kind == "columns":
            q, k, v = qkv.flatten(2).split([qk, qk, p], dim=1)
            a = ((q.transpose(-2, -1) @ k) * qk**-0.5).softmax(-1)
            return (v @ a.transpose(-2, -1)).reshape(b, p, h, w)
        if kind == "tokens":
            t = qkv.flatten(2).transpose(1, 2)
            q, k, v = t[..., :qk] * qk**-0.5, t[..., qk : 2 * qk], t[..., 2 * qk :]
            o = F.softmax(q @ k.transpose(1, 2), dim=-1) @ v
            return o.transpose(1, 2).reshape(b, p, h, w)
        if kind == "narrow":
            q = qkv.narrow(1, 0, qk).reshape(b, qk, h * w)
            k = qkv.narrow(1, qk, qk).reshape(b, qk, h * w)
            v = qkv.narrow(1, 2 * qk, p).reshape(b, p, h * w)
            a = torch.softmax(torch.bmm(q.permute(0, 2, 1), k) / math.sqrt(qk), dim=2)
            return torch.bmm(a, v.permute(0, 2, 1)).permute(0, 2, 1).reshape(b, p, h, w)
        if kind == "keys_first":  # scores transposed: rows are keys, softmax over dim 1
            q, k, v = torch.split(qkv.reshape(b, 2 * qk + p, -1), [qk, qk, p], 1)
            a = (k.transpose(1, 2) @ q).mul(qk**-0.5).softmax(1)
            return (v @ a).reshape(b, p, h, w)
        q, k, v = (t.flatten(2).transpose(1, 2).unsqueeze(1) for t in qkv.split([qk, qk, p], dim=1))
        o = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return o.transpose(1, 2).reshape(b, p, h, w)

    def forward(self, x):
        if self.habits.attention == "tokens":
            x1, x2 = x[:, : self.p], x[:, self.p :]
        else:
            x1, x2 = torch.split(x, [self.p, x.shape[1] - self.p], dim=1)
        o = self.attend(self.qkv(self.normalise(x1)), x.shape[2], x.shape[3])
        if self.habits.activation == "before":
            return self.proj(torch.cat((F.relu(o), F.relu(x2)), 1))
        return self.proj(F.relu(torch.cat((o, x2), 1)))


class SE(nn.Module):
    def __init__(self, c, r, pool):
        super().__init__()
        self.fc1, self.fc2, self.pool = nn.Conv2d(c, r, 1), nn.Conv2d(r, c, 1), pool

    def forward(self, x):
        adaptive = self.pool == "adaptive"
        s = F.adaptive_avg_pool2d(x, 1) if adaptive else x.mean((2, 3), keepdim=True)
        return torch.sigmoid(self.fc2(F.relu(self.fc1(s)))) * x


class Down(nn.Module):
    def __init__(self, d, e, pool):
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(d, 4 * d), ConvNorm(4 * d, 4 * d, 3, 2, 4 * d)
        self.se, self.conv3 = SE(4 * d, (d + 4) // 8 * 8, pool), ConvNorm(4 * d, e)

    def forward(self, x):
        return self.conv3(self.se(F.relu(self.conv2(F.relu(self.conv1(x))))))


class Unit(nn.Module):
    def __init__(self, d, mixer):
        super().__init__()
        self.conv, self.ffn = Skip(ConvNorm(d, d, 3, 1, d)), Skip(Mlp(d))
        if mixer is not None:
            self.mixer = Skip(mixer)

    def forward(self, x):
        x = self.conv(x)
        if hasattr(self, "mixer"):
            x = self.mixer(x)
        return self.ffn(x)


class NormLinear(nn.Sequential):
    def __init__(self, d, n):
        super().__init__()
        self.add_module("bn", nn.BatchNorm1d(d))
        self.add_module("l", nn.Linear(d, n))

    def fuse(self) -> nn.Linear:
        bn, linear = self.bn, self.l
        scale = bn.weight / (bn.running_var + bn.eps) ** 0.5
        out = nn.Linear(linear.in_features, linear.out_features)
        out.weight.data = linear.weight * scale
        out.bias.data = linear.weight @ (bn.bias - bn.running_mean * scale) + linear.bias
        return out


class Variation(nn.Module):
    """`arch` has embed_dim, depth, partial_dim, types and qk_dim, as in the published variants."""

    def __init__(self, arch, num_classes: int, habits: Habits):
        super().__init__()
        self.habits = habits
        e = arch.embed_dim
        widths = [3, e[0] // 8, e[0] // 4, e[0] // 2, e[0]]
        stem = []
        for i in range(4):
            stem += [ConvNorm(widths[i], widths[i + 1], 3, 2), nn.ReLU(inplace=True)]
        self.patch_embed = nn.Sequential(*stem[:-1])
        for i, d in enumerate(e):
            stage = []
            if i:
                p = e[i - 1]
                stage.append(nn.Sequential(Skip(ConvNorm(p, p, 3, 1, p)), Skip(Mlp(p))))
                stage.append(Down(p, d, habits.pool))
                stage.append(nn.Sequential(Skip(ConvNorm(d, d, 3, 1, d)), Skip(Mlp(d))))
            for _ in range(arch.depth[i]):
                attends = arch.types[i] == "s"
                mixer = Mixer(d, arch.qk_dim, arch.partial_dim[i], habits) if attends else None
                stage.append(Unit(d, mixer))
            self.add_module(f"blocks{i + 1}", nn.Sequential(*stage))
        self.head = NormLinear(e[-1], num_classes)

    def forward(self, x):
        x = self.blocks3(self.blocks2(self.blocks1(self.patch_embed(x))))
        if self.habits.pool == "adaptive":
            return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return self.head(x.mean(-1).mean(-1))


def fuse_batchnorm(module: nn.Module) -> None:
    """The official reparametrisation, in place, outermost first."""
    for name, child in module.named_children():
        fused = child.fuse() if hasattr(child, "fuse") else child
        if fused is not child:
            setattr(module, name, fused)
        fuse_batchnorm(fused)
