"""ONNX Runtime on the plain export with its own dynamic quantisation: whoever wants int8 takes it.

`quantize_dynamic` for matrix products, weights per column, as its documentation advises for
transformers. Convolutions stay float32: ONNX Runtime multiplies bytes in them by a plain loop.
Weights have 7 bits where sums of two products do not fit into 16 bits, again as it advises.
"""

from __future__ import annotations

import logging
import os
import platform
from pathlib import Path
from typing import ClassVar

from attnc.compiler.errors import MissingRuntimeError, UnsupportedError
from attnc.runtimes.cpu.library import cpu_flags
from attnc.runtimes.ort_runner import OrtRunner
from attnc.runtimes.request import Files


class OrtInt8Runner(OrtRunner):
    """Quantises once into `scratch`, then runs that file in a default session."""

    name: ClassVar[str] = "ort-int8"

    def __init__(self, plain: Path, scratch: Path, threads: int | None = None) -> None:
        super().__init__(scratch / f"{plain.stem}.{self.name}.onnx", threads)
        self._plain = plain

    def activate(self) -> None:
        """Quantise if that has not been done, then create the session."""
        if not self._model.exists():
            _quantise(self._plain, self._model)
        super().activate()


def from_files(files: Files, threads: int | None) -> OrtInt8Runner:
    """The runner that the benchmark times."""
    return OrtInt8Runner(Path(files.plain), Path(files.scratch), threads)


def _sums_saturate() -> bool:
    """Whether this processor adds pairs of products of bytes in 16 bits: x86-64 without VNNI."""
    flags = cpu_flags()
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and not flags & {"avx512_vnni", "avx_vnni"}


def _quantise(plain: Path, result: Path) -> None:
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingRuntimeError(
            f"ONNX Runtime's quantisation cannot be imported: {error}", remedy="pip install onnx"
        ) from error
    logging.getLogger().setLevel(logging.ERROR)  # it advises preprocessing at each call
    part = result.with_suffix(".part")
    try:
        quantize_dynamic(
            plain,
            part,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=_sums_saturate(),
        )
    except Exception as error:  # whatever it does not know of a graph
        raise UnsupportedError(
            f"ONNX Runtime cannot quantise the plain export: {error}",
            remedy="leave ort-int8 out of --against",
        ) from error
    os.replace(part, result)
