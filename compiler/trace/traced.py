"""What tracing gives to the rest of the compiler, whatever the model came as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attnc.compiler.manifest import Preprocessing, SourceInfo, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

OPSET = 20  # the newest that ONNX Runtime 1.17 loads
IR_VERSION = 9  # likewise
INPUT_NAME = "input"
OUTPUT_NAME = "logits"
BATCH_NAME = "batch"

Batch = int | Literal["dynamic"]


@dataclass(frozen=True)
class TracedModel:
    """A graph of standard operators at `OPSET`, float32, NCHW, with what is known about it.

    `input` is [batch, channels, height, width], height and width fixed, batch a number or "batch".
    `reference` computes the same function independently of our rewrites: a torch module in eval
    mode on the CPU, or the path of the `.onnx` file that was given. `preprocessing` is None where
    the source says nothing about it.
    """

    model: ir.Model
    reference: nn.Module | Path
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    source: SourceInfo

    @property
    def batch(self) -> Batch:
        """The batch size that was fixed, or "dynamic"."""
        size = self.input.shape[0]
        return size if isinstance(size, int) else "dynamic"

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.input.shape[2:]
        return int(height), int(width)

    @property
    def weights_sha256(self) -> str:
        """Hash over names, types, shapes and values of the source's weights, order-independent."""
        return self.source.weights_sha256 or ""


@dataclass(frozen=True)
class Request:
    """The options of a trace, checked: they are the same for every kind of source."""

    image_size: tuple[int, int] | None
    batch: Batch
    num_classes: int | None
    checkpoint: Path | None
    seed: int
    options: dict[str, Any]
