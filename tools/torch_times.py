"""What PyTorch needs on the GPU for what a kernel does: eager, compiled, and its own attention.

All replayed as CUDA graphs where that is possible, as the kernel is, so that the host's part does
not count; what cannot be captured is timed as it is called.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

from attnc.runtimes.cuda.gpu_bench import LAUNCHES, ROUNDS, WARM_UP, Case
from attnc.tools.torch_body import torch_body

_TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
Function = Callable[..., Any]


def why_no_torch() -> str:
    """Empty if PyTorch can run on the GPU."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    import torch

    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} here cannot run on the GPU: install one with CUDA"
    return ""


def torch_times(case: Case, precision: str, device: str = "cuda") -> dict[str, Any]:
    """Median microseconds of each way; what fails says why, in `problems`."""
    import torch

    kind = getattr(torch, _TYPES[precision])
    tensors = [torch.from_numpy(array).to(device, kind) for array in case.inputs()]
    found: dict[str, Any] = {"us": {}, "problems": {}}
    with torch.no_grad():
        for name, make in _ways(case, tensors).items():
            try:
                function, given = make()
                found["us"][name] = round(_median_us(function, given), 3)
            except Exception as error:  # a peer's failure is a line of the report
                first = (str(error).strip().splitlines() or [""])[0]
                found["problems"][name] = f"{type(error).__name__}: {first}"
    return found


def _ways(case: Case, tensors: list[Any]) -> dict[str, Callable[[], tuple[Function, list[Any]]]]:
    import torch

    def eager() -> tuple[Function, list[Any]]:
        return torch_body(case.operator, case.attributes, tensors), tensors

    def compiled() -> tuple[Function, list[Any]]:
        return torch.compile(eager()[0]), tensors

    ways = {"eager": eager, "torch.compile": compiled}
    if case.operator == "MapAttention":
        ways["sdpa"] = lambda: (_attention(case), parts_of(case, tensors[0]))
    return ways


def _attention(case: Case) -> Function:
    """Softmax(q k') v and nothing around it."""
    from torch.nn.functional import scaled_dot_product_attention

    scale = float(case.attributes["scale"])
    return lambda q, k, v: scaled_dot_product_attention(q, k, v, scale=scale)


def parts_of(case: Case, qkv: Any) -> list[Any]:
    """q, k and v of a map, with one head."""
    narrow, wide = case.attributes["dim_qk"], case.attributes["dim_v"]
    rows = qkv.reshape(qkv.shape[0], 1, -1, qkv.shape[-1])
    return [part.contiguous() for part in rows.split([narrow, narrow, wide], -1)]


def _median_us(function: Function, tensors: list[Any]) -> float:
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            function(*tensors)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    many = _captured(function, tensors)
    for _ in range(WARM_UP):
        many()
    return statistics.median(_timed(many) for _ in range(ROUNDS))


def _captured(function: Function, tensors: list[Any]) -> Callable[[], None]:
    """Many calls, as a graph if possible."""
    import torch

    def called() -> None:
        for _ in range(LAUNCHES):
            function(*tensors)

    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            called()
    except RuntimeError:
        torch.cuda.synchronize()
        return called
    return graph.replay  # type: ignore[no-any-return]


def _timed(many: Callable[[], None]) -> float:
    """Microseconds per call."""
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    many()
    end.record()
    end.synchronize()
    return float(1e3 * begin.elapsed_time(end) / LAUNCHES)
