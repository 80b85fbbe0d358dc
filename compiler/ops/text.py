"""Pieces of ONNX function text that several operator bodies share.

Each function returns lines that define the named value; helper values carry its name as prefix.
"""

from __future__ import annotations


def ints(out: str, *values: int) -> str:
    """A constant 1-D int64 tensor."""
    return f"  {out} = Constant <value_ints: ints = {list(values)}> ()\n"


def attribute_int(out: str, attribute: str) -> str:
    """A 1-D int64 tensor with the one value of an int attribute."""
    return (
        f"  {out}_scalar = Constant <value_int: int = @{attribute}> ()\n"
        + ints(f"{out}_one", 1)
        + f"  {out} = Reshape ({out}_scalar, {out}_one)\n"
    )


def clamp(out: str, x: str) -> str:
    """Clip to the attributes `min` and `max`."""
    return (
        f"  {out}_min = Constant <value_float: float = @min> ()\n"
        f"  {out}_max = Constant <value_float: float = @max> ()\n"
        f"  {out} = Clip ({x}, {out}_min, {out}_max)\n"
    )


def first(out: str, x: str, count: str, axis: int) -> str:
    """The first entries of an axis; `count` is a 1-D tensor of one value."""
    return (
        ints(f"{out}_from", 0)
        + ints(f"{out}_axis", axis)
        + f"  {out} = Slice ({x}, {out}_from, {count}, {out}_axis)\n"
    )


def rest(out: str, x: str, start: str, axis: int) -> str:
    """The entries of an axis from `start` (a 1-D tensor of one value) on."""
    return (
        ints(f"{out}_to", 2**62)
        + ints(f"{out}_axis", axis)
        + f"  {out} = Slice ({x}, {start}, {out}_to, {out}_axis)\n"
    )


def unpack_matrix(out: str, panels: str, count: str) -> str:
    """Panels [P,K,16] to a matrix [K,count]."""
    return (
        f"  {out}_rows = Transpose <perm: ints = [1, 0, 2]> ({panels})\n"
        + ints(f"{out}_flat", 0, -1)
        + f"  {out}_wide = Reshape ({out}_rows, {out}_flat)\n"
        + first(out, f"{out}_wide", count, 1)
    )


def linear(out: str, x: str, panels: str, bias: str, count: str) -> str:
    """x [..., K] times packed weights plus packed bias: [..., count]."""
    return (
        unpack_matrix(f"{out}_w", panels, count)
        + first(f"{out}_b", bias, count, 0)
        + f"  {out}_product = MatMul ({x}, {out}_w)\n"
        + f"  {out} = Add ({out}_product, {out}_b)\n"
    )


def unpack_conv(out: str, panels: str, count: str) -> str:
    """Panels over K = (kh, kw, c) to [count, C, kh, kw]; reads the attribute `kernel_shape`."""
    return (
        unpack_matrix(f"{out}_m", panels, count)
        + f"  {out}_k = Constant <value_ints: ints = @kernel_shape> ()\n"
        + ints(f"{out}_c", -1)
        + f"  {out}_s = Concat <axis: int = 0> ({out}_k, {out}_c, {count})\n"
        + f"  {out}_r = Reshape ({out}_m, {out}_s)\n"
        + f"  {out} = Transpose <perm: ints = [3, 2, 0, 1]> ({out}_r)\n"
    )


def unpack_depthwise(out: str, packed: str, count: str) -> str:
    """[kh*kw, Cp] to [count, 1, kh, kw]; reads the attribute `kernel_shape`."""
    return (
        first(f"{out}_m", packed, count, 1)
        + f"  {out}_t = Transpose <perm: ints = [1, 0]> ({out}_m)\n"
        + f"  {out}_k = Constant <value_ints: ints = @kernel_shape> ()\n"
        + ints(f"{out}_i", 1)
        + f"  {out}_s = Concat <axis: int = 0> ({count}, {out}_i, {out}_k)\n"
        + f"  {out} = Reshape ({out}_t, {out}_s)\n"
    )


def to_nchw(out: str, x: str) -> str:
    """[B,H,W,C] to [B,C,H,W]."""
    return f"  {out} = Transpose <perm: ints = [0, 3, 1, 2]> ({x})\n"


def to_nhwc(out: str, x: str) -> str:
    """[B,C,H,W] to [B,H,W,C]."""
    return f"  {out} = Transpose <perm: ints = [0, 2, 3, 1]> ({x})\n"


def layer_norm(out: str, x: str) -> str:
    """LayerNorm over the last axis without scale and shift; reads the attribute `epsilon`."""
    return (
        f"  {out}_size = Shape <start: int = -1> ({x})\n"
        f"  {out}_ones = ConstantOfShape <value: tensor = float[1] {{1.0}}> ({out}_size)\n"
        f"  {out} = LayerNormalization <axis: int = -1, epsilon: float = @epsilon> "
        f"({x}, {out}_ones)\n"
    )


def rows_linear(out: str, x: str, weight: str, bias: str) -> str:
    """x [..., K] times the transpose of weight [N, K] plus bias: [..., N]."""
    return (
        f"  {out}_w = Transpose <perm: ints = [1, 0]> ({weight})\n"
        f"  {out}_product = MatMul ({x}, {out}_w)\n"
        f"  {out} = Add ({out}_product, {bias})\n"
    )
