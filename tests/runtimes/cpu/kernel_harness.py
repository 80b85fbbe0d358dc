"""Calls the kernels' plain C interface with hostile memory: outputs and scratch full of NaN,
guard zones behind every buffer, weights at odd addresses, tasks in reverse order or on threads.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_size_t,
    c_ssize_t,
    c_void_p,
)
from pathlib import Path

import numpy as np
from kernel_cases import Case

TASK = CFUNCTYPE(None, c_void_p, c_size_t)
GUARD = 64  # floats behind each buffer that must stay NaN
KERNEL_OF = {
    "MapToNhwc": "turn_f32",
    "MapToNchw": "turn_f32",
    "StemConvNhwc": "stem_conv_f32",
    "StemConvGeluNhwc": "stem_conv_f32",
    "ConvNhwc": "conv_f32",
    "ConvGeluNhwc": "conv_f32",
    "ConvAddNhwc": "conv_f32",
    "ConvStride2Nhwc": "conv_stride2_f32",
    "ConvTiles3Nhwc": "conv_tiles_f32",
    "ConvTiles4Nhwc": "conv_tiles_f32",
    "DepthwiseNhwc": "depthwise_f32",
    "DepthwiseGeluNhwc": "depthwise_f32",
    "FeedForwardNhwc": "feed_forward_f32",
    "LinearPacked": "linear_f32",
    "LinearAddPacked": "linear_f32",
    "LinearGeluPacked": "linear_f32",
    "NormLinearPacked": "linear_f32",
    "NormLinearGeluPacked": "linear_f32",
    "MlpPacked": "mlp_f32",
    "SingleHeadAttentionNhwc": "attention_f32",
    "InvertedBottleneckNhwc": "bottleneck_f32",
    "PoolLinearNhwc": "pool_linear_f32",
    "WindowAttention": "window_attention_f32",
    "WindowAttentionBare": "window_attention_f32",
    "WindowAttentionPooled": "window_attention_f32",
    "WindowAttentionPooledBare": "window_attention_f32",
    "SparseAttention": "sparse_attention_f32",
    "SparseAttentionActive": "sparse_attention_f32",
    **{
        f"{name}{bits}": "linear_low"
        for name in ("Linear", "LinearAdd", "LinearGelu", "NormLinear", "NormLinearGelu")
        for bits in ("Half", "Int8")
    },
}


class Host(ctypes.Structure):
    """AttncHost."""

    _fields_ = (
        ("user", c_void_p),
        ("alloc", CFUNCTYPE(c_void_p, c_void_p, c_size_t)),
        ("free", CFUNCTYPE(None, c_void_p, c_void_p)),
        ("parallel_for", CFUNCTYPE(None, c_void_p, c_size_t, TASK, c_void_p)),
    )


def floats(values: np.ndarray | int, offset: int = 0) -> np.ndarray:
    """A copy (or NaN for a size) `offset` floats past a cache line, with a guard behind it.

    Halves and bytes are copied as they are, in as many floats as hold them.
    """
    if not isinstance(values, int) and values.dtype != np.float32 and values.itemsize < 4:
        raw = values.tobytes()
        values = np.frombuffer(raw + bytes(-len(raw) % 4), np.float32)
    size = values if isinstance(values, int) else values.size
    raw = np.full(size + GUARD + 16 + offset, np.nan, np.float32)
    start = (-raw.ctypes.data % 64) // 4 + offset
    view = raw[start : start + size + GUARD]
    if not isinstance(values, int):
        view[:size] = values.ravel()
    return view


class Harness:
    """One instruction set's kernels; `threads` 0 runs the tasks backwards on the caller."""

    def __init__(self, library: Path, isa: str, threads: int = 0, fail_alloc: bool = False) -> None:
        self.lib = ctypes.CDLL(str(library))
        self.lib.attnc_kernel.restype = c_void_p
        self.lib.attnc_kernel.argtypes = [c_char_p, c_int]
        self.lib.attnc_kernel_name.restype = c_char_p
        self.lib.attnc_low.restype = c_void_p
        self.lib.attnc_low.argtypes = [c_char_p, c_int]
        self.lib.attnc_peak.restype = c_double
        self.lib.attnc_peak.argtypes = [c_char_p, c_ssize_t, POINTER(c_float)]
        self.isa, self.fail_alloc, self.live = isa.encode(), fail_alloc, {}
        self.pool = ThreadPoolExecutor(threads) if threads else None
        types = [kind for _, kind in Host._fields_]
        self.host = Host(
            None, types[1](self._alloc), types[2](self._free), types[3](self._parallel)
        )

    def _alloc(self, _user: int, size: int) -> int | None:
        if self.fail_alloc:
            return None
        memory = floats(size // 4)
        self.live[memory.ctypes.data] = memory
        return memory.ctypes.data

    def _free(self, _user: int, address: int) -> None:
        memory = self.live.pop(address)
        assert np.isnan(memory[-GUARD:]).all(), "scratch overrun"

    def _parallel(self, _user: int, tasks: int, task: TASK, arg: int) -> None:
        if self.pool is None:
            for i in reversed(range(tasks)):
                task(arg, i)
        else:
            list(self.pool.map(lambda i: task(arg, i), range(tasks)))

    def kernel(self, name: str) -> int:
        """Address of a kernel."""
        index = 0
        while (found := self.lib.attnc_kernel_name(index)) is not None:
            if found.decode() == name:
                return self.lib.attnc_kernel(self.isa, index)
            index += 1
        raise KeyError(name)

    def call(self, case: Case, offset: int = 0) -> tuple[int, np.ndarray]:
        """Status and output of a case; asserts that no guard zone was written."""
        inputs = [floats(v, offset) for v in (case.x, *case.weights, *case.dynamic)]
        before = [v.copy() for v in inputs]
        y = floats(case.expected.size, offset)
        addresses = [v.ctypes.data for v in inputs]
        if KERNEL_OF[case.op] == "linear_low":
            low = self.lib.attnc_low(self.isa, int(case.op.endswith("Int8")))
            arguments = _pack_low(case, [low, *addresses], y.ctypes.data)
        else:
            arguments = _pack(case, addresses, y.ctypes.data)
        kernel = ctypes.CFUNCTYPE(c_int, POINTER(Host), c_void_p)(self.kernel(KERNEL_OF[case.op]))
        status = kernel(ctypes.byref(self.host), ctypes.addressof(arguments))
        assert not self.live, "scratch leaked"
        assert np.isnan(y[case.expected.size :]).all(), "output overrun"
        for now, then in zip(inputs, before, strict=True):
            assert now.tobytes() == then.tobytes(), "input overwritten"
        return status, y[: case.expected.size].reshape(case.expected.shape)

    def call_kernel(
        self,
        name: str,
        inputs: list[np.ndarray | None],
        outputs: list[tuple[int, ...]],
        integers: list[int],
        reals: list[float],
        offset: int = 0,
    ) -> tuple[int, list[np.ndarray]]:
        """Status and outputs of a kernel whose arguments are pointers, integers, floats."""
        given = [None if v is None else floats(v, offset) for v in inputs]
        before = [None if v is None else v.copy() for v in given]
        made = [floats(int(np.prod(shape)), offset) for shape in outputs]
        addresses = [0 if v is None else v.ctypes.data for v in (*given, *made)]
        arguments = _structure(addresses, integers, reals)
        kernel = ctypes.CFUNCTYPE(c_int, POINTER(Host), c_void_p)(self.kernel(name))
        status = kernel(ctypes.byref(self.host), ctypes.addressof(arguments))
        assert not self.live, "scratch leaked"
        for now, then in zip(given, before, strict=True):
            assert now is None or np.array_equal(now, then, equal_nan=True), "input overwritten"
        found = []
        for array, shape in zip(made, outputs, strict=True):
            size = int(np.prod(shape))
            assert np.isnan(array[size:]).all(), "output overrun"
            found.append(array[:size].reshape(shape))
        return status, found


def _pack(case: Case, inputs: list[int], y: int) -> ctypes.Structure:
    """The kernel's argument struct: pointers, integers, floats, in that order."""
    a, x, out = case.attributes, case.x.shape, case.expected.shape
    lo = -np.inf if a.get("min", -1e39) < -3e38 else a["min"]
    hi = np.inf if a.get("max", 1e39) > 3e38 else a["max"]
    window = [*a.get("kernel_shape", []), *a.get("strides", []), *a.get("dilations", (1, 1))]
    window += a.get("pads", [])
    reals = [lo, hi]
    if case.op in ("StemConvNhwc", "StemConvGeluNhwc", "ConvNhwc", "ConvAddNhwc", "ConvGeluNhwc"):
        last = [x[0], x[2], x[3], x[1]] if case.op.startswith("Stem") else x
        inputs, sizes = [*inputs, 0][:4], [*last, *out[1:], *window, "Gelu" in case.op]
    elif case.op == "ConvStride2Nhwc":
        inputs, sizes = [*inputs, 0], [*x, *out[1:], 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0]
    elif case.op.startswith("ConvTiles"):
        window = [*a["kernel_shape"], 1, 1, 1, 1, *a["pads"], 0]
        inputs, sizes = [*inputs, 0], [*x, *out[1:], *window]
    elif case.op in ("DepthwiseNhwc", "DepthwiseGeluNhwc"):
        sizes = [*x, *out[1:3], *window, "Gelu" in case.op]
    elif case.op == "FeedForwardNhwc":
        sizes = [x[0] * x[1] * x[2], x[3], a["hidden"]]
    elif case.op.endswith("Packed"):
        inputs, sizes, reals = _pack_tokens(case, inputs, reals)
    elif case.op == "SingleHeadAttentionNhwc":
        sizes = [x[0], x[1] * x[2], x[3], a["dim_qk"], a["dim_v"]]
        reals = [a["epsilon"], lo, hi]
    elif case.op == "InvertedBottleneckNhwc":
        sizes = [*x, a["hidden"], a["reduced"], *out[1:], *window]
    elif case.op.startswith("WindowAttention"):
        inputs, sizes = [*inputs, 0][:2], [*out, *a["kernel_shape"], *a["dilations"], a["shift"]]
        sizes, reals = [*sizes, *a.get("grid", (0, 0))], [a["scale"]]
    elif case.op.startswith("MapTo"):
        rows = x[1] if case.op == "MapToNhwc" else x[1] * x[2]
        sizes, reals = [x[0], rows, case.x.size // (x[0] * rows)], []
    elif case.op.startswith("SparseAttention"):
        narrow, rank = case.weights[1].size, case.weights[4].shape[1]
        inputs = [*inputs, 0][:8]
        sizes = [*x[:2], a["heads"], a["dim"], narrow, rank, a["coef_topk"], a["keep"]]
        sizes.append(a.get("prune_rows", 0))
        reals = [a[name] for name in ("coef_threshold", "score_threshold", "scale", "coef_scale")]
    else:
        sizes, reals = [x[0], x[1] * x[2], x[3], a["out_features"]], []
    return _structure([*inputs, y], sizes, reals)


def _pack_low(case: Case, inputs: list[int], y: int) -> ctypes.Structure:
    """AttncLinearLow."""
    a, width = case.attributes, case.x.shape[-1]
    sizes = [case.x.size // width, width, case.expected.shape[-1]]
    sizes += ["Norm" in case.op, "Gelu" in case.op, case.op.endswith("Int8")]
    lo = -np.inf if a.get("min", -1e39) < -3e38 else a["min"]
    hi = np.inf if a.get("max", 1e39) > 3e38 else a["max"]
    return _structure([*[*inputs, 0][:6], y], sizes, [a.get("epsilon", 0.0), lo, hi])


def _pack_tokens(
    case: Case, inputs: list[int], clamp: list[float]
) -> tuple[list[int], list[int], list[float]]:
    a, width, n = case.attributes, case.x.shape[-1], case.expected.shape[-1]
    rows, reals = case.x.size // width, [a.get("epsilon", 0.0)]
    if case.op == "MlpPacked":
        return inputs, [rows, width, a["hidden"]], reals
    sizes = [rows, width, n, "Norm" in case.op, "Gelu" in case.op]
    return [*inputs, 0][:4], sizes, reals + clamp


def _structure(pointers: list[int], integers: list[int], reals: list[float]) -> ctypes.Structure:
    fields = [(f"p{i}", c_void_p) for i in range(len(pointers))]
    fields += [(f"n{i}", c_ssize_t) for i in range(len(integers))]
    fields += [(f"f{i}", c_float) for i in range(len(reals))]
    struct = type("Arguments", (ctypes.Structure,), {"_fields_": fields})
    return struct(*pointers, *integers, *reals)
