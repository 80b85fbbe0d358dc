"""OpenVINO as a competitor: float32, latency mode, an optional extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from attnc.compiler.errors import MissingRuntimeError
from attnc.compiler.manifest import TensorSpec
from attnc.runtimes.request import Files
from attnc.runtimes.runner import Feed, Outputs, Runner


class OpenVinoRunner(Runner):
    """Runs the plain export in OpenVINO on the CPU with inference precision f32."""

    name: ClassVar[str] = "openvino"

    def __init__(self, model: Path, threads: int | None = None) -> None:
        self._model, self._threads = model, threads
        self._request: Any = None

    def activate(self) -> None:
        """Compile the model for the CPU."""
        try:
            import openvino
        except ImportError as error:
            raise MissingRuntimeError(
                f"OpenVINO cannot be imported: {error}", remedy="pip install 'attnc[peers]'"
            ) from error
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if self._threads is not None:
            config["INFERENCE_NUM_THREADS"] = self._threads
        compiled = openvino.Core().compile_model(str(self._model), "CPU", config)
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        self.outputs = tuple(_spec(port) for port in compiled.outputs)
        self._request = compiled.create_infer_request()

    def infer(self, feed: Feed) -> Outputs:
        """Run the request; outputs are copied out of its buffers."""
        self._request.infer(dict(feed))
        return {
            spec.name: np.array(self._request.get_output_tensor(index).data)
            for index, spec in enumerate(self.outputs)
        }

    def deactivate(self) -> None:
        """Drop the request and its model."""
        self._request = None


def from_files(files: Files, threads: int | None) -> OpenVinoRunner:
    """The runner that the benchmark times."""
    return OpenVinoRunner(Path(files.plain), threads)


def _spec(port: Any) -> TensorSpec:
    shape = tuple(size.get_length() if size.is_static else "?" for size in port.get_partial_shape())
    dtype = str(np.dtype(port.get_element_type().to_dtype()))
    return TensorSpec(name=port.get_any_name(), dtype=dtype, shape=shape)
