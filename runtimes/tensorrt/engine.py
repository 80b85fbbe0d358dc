"""Build an engine with TensorRT for RTX and say which kernels it has. No GPU is needed.

Every build runs in a process of its own, because the parser aborts the process on some errors;
that, too, comes back as an error with its reason.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.tensorrt.environment import build_environment
from attnc.runtimes.tensorrt.layers import Layer, attentions, moves, parse_layers, plugins

#: Least, usual and most pictures per call of engines with a free batch.
DYNAMIC_BATCH = (1, 8, 32)
#: What TensorRT for RTX builds for; it refuses 87, 90, 100, 103, 110 as explicit targets.
BUILDABLE = ("75", "80", "86", "89", "120", "121")
SECONDS = 900.0
#: TensorRT for RTX has no float32 products for Turing; the profile `rtx` includes it.
TURING = "--precision fp16, or a profile without Turing: rtx3090, rtx4090, rtx5090"


class EngineError(UnsupportedError):
    """TensorRT did not build the engine; the message holds its own words."""


@dataclass(frozen=True)
class Engine:
    """What a build gave: for which GPU, the kernels in order, and the plan's size and hash."""

    sm: str
    batch: str
    layers: tuple[Layer, ...]
    plan_bytes: int
    plan_sha256: str
    warnings: tuple[str, ...]

    def as_json(self, precision: str, batch: int | str) -> dict[str, Any]:
        """The entry of `attnc verify --json`; `batch` is the bundle's, a free one is a span."""
        return {
            "sm": self.sm,
            "precision": precision,
            "batch": batch if isinstance(batch, int) else self.batch,
            "kernels": len(self.layers),
            "fused_attentions": attentions(self.layers),
            "plugin_layers": plugins(self.layers),
            "moving_kernels": moves(self.layers),
            "plan_bytes": self.plan_bytes,
        }


def build_engine(
    model: Path,
    sm: str,
    *,
    plugin: Path | None = None,
    batch: tuple[int, int, int] | None = None,
    plan: Path | None = None,
    seconds: float = SECONDS,
) -> Engine:
    """Build the ONNX file for one compute capability ("89"), or several ("80,89").

    `plugin` is a Python file whose `register` makes the plugins known; `batch` is (least, usual,
    most) if it is free; `plan` is where the engine goes. Raises MissingRuntimeError without
    TensorRT for RTX, EngineError if it refuses the model.
    """
    request = {
        "model": str(model.resolve()),
        "plugin": str(plugin.resolve()) if plugin else None,
        "sms": sm.split(","),
        "batch": list(batch) if batch else None,
        "plan": str(plan.resolve()) if plan else None,
    }
    answer = _ask(request, sm, seconds)
    layers = parse_layers(answer["layers"])
    if not layers:
        raise EngineError(
            f"TensorRT for RTX built an engine for sm_{sm} but listed no kernels",
            where=str(model),
            remedy="try the version of tensorrt-rtx that attnc's pyproject names",
        )
    return Engine(
        sm,
        "-".join(map(str, (batch[0], batch[-1]))) if batch else "static",
        tuple(layers),
        answer["plan_bytes"],
        answer["plan_sha256"],
        tuple(answer["warnings"]),
    )


def _ask(request: dict[str, Any], sm: str, seconds: float) -> dict[str, Any]:
    with build_environment() as environment, TemporaryDirectory(prefix="attnc-engine-") as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", __package__ + ".child", str(asked), str(answered)]
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"TensorRT took longer than {seconds:.0f} s for sm_{sm}", where=request["model"]
            ) from error
        if not answered.is_file():
            raise _died(done, request, sm)
        answer: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    if "errors" in answer:
        reasons = "; ".join(dict.fromkeys(answer["errors"]))
        raise EngineError(
            f"TensorRT did not {answer['stage']} the engine for sm_{sm}: {reasons}",
            where=request["model"],
            remedy=TURING if "Turing" in reasons else "",
        )
    return answer


def _died(done: subprocess.CompletedProcess[str], request: dict[str, Any], sm: str) -> EngineError:
    how = f"exit code {done.returncode}"
    if done.returncode < 0:
        how = f"signal {signal.Signals(-done.returncode).name}"
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return EngineError(
        f"TensorRT's process for sm_{sm} ended with {how}: {' | '.join(lines[-3:]) or 'silently'}",
        where=request["model"],
        remedy="export with --no-kernels or another --precision: is a plugin the cause?",
    )
