"""ExecuTorch's runner against a stand-in of its packages, which mostly are not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from attnc.compiler.errors import MissingRuntimeError, UnsupportedError
from attnc.runtimes.executorch_runner import ExecutorchRunner

PICTURE = np.ones((2, 3, 24, 24), np.float32)


class StandIn:
    """Programs are named after their module; running one gives its class count of zeros."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[int] = []
        self.lowered = 0
        partitioner = "executorch.backends.xnnpack.partition.xnnpack_partitioner"
        members: dict[str, dict[str, Any]] = {
            "executorch": {},
            "executorch.exir": {"to_edge_transform_and_lower": self.lower},
            partitioner: {"XnnpackPartitioner": object},
            "executorch.runtime": {"Runtime": SimpleNamespace(get=lambda: self)},
            "executorch.extension.pybindings": {
                "portable_lib": SimpleNamespace(_unsafe_reset_threadpool=self.threads.append)
            },
        }
        for name, values in members.items():
            module = ModuleType(name)
            vars(module).update(values)
            monkeypatch.setitem(sys.modules, name, module)

    def lower(self, program: Any, partitioner: list[Any]) -> Any:
        self.lowered += 1
        shape = program.example_inputs[0][0].shape
        text = "x".join(str(size) for size in shape).encode()
        return SimpleNamespace(to_executorch=lambda: SimpleNamespace(buffer=text))

    def load_program(self, path: Path) -> Any:
        import torch

        batch = int(path.read_bytes().split(b"x")[0])
        method = SimpleNamespace(execute=lambda inputs: [torch.zeros(batch, 10)])
        return SimpleNamespace(load_method=lambda name: method if name == "forward" else None)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(monkeypatch)


@pytest.mark.usefixtures("importable_data")
def test_lowered_once_and_loaded_by_the_next(stand_in: StandIn, tmp_path: Path) -> None:
    from tiny_net import build

    for _ in range(2):
        with ExecutorchRunner(build, 2, tmp_path) as runner:
            assert runner.infer({"input": PICTURE})["logits"].shape == (2, 10)
    assert stand_in.lowered == 1
    assert stand_in.threads == [2, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["executorch-2x3x24x24.pte"]


def test_what_cannot_be_exported_is_told(stand_in: StandIn, tmp_path: Path) -> None:
    from torch import Tensor, nn

    class Undecided(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with (
        ExecutorchRunner(Undecided, 1, tmp_path) as runner,
        pytest.raises(UnsupportedError, match="ExecuTorch cannot lower the model"),
    ):
        runner.infer({"input": PICTURE})
    assert list(tmp_path.iterdir()) == []


def test_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("executorch", "executorch.extension.pybindings", "executorch.runtime"):
        monkeypatch.setitem(sys.modules, name, None)  # where it is installed, it is loaded by now
    with pytest.raises(MissingRuntimeError, match="ExecuTorch cannot be imported") as caught:
        ExecutorchRunner(lambda: None, 1, tmp_path).activate()
    assert "attnc[executorch]" in caught.value.remedy
