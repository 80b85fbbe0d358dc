"""Engines of TensorRT for RTX: what a build tells, and that no failure takes this process along."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from attnc.compiler.errors import ExitCode, MissingRuntimeError, UnsupportedError
from attnc.runtimes.tensorrt import child, engine, environment
from attnc.runtimes.tensorrt.engine import EngineError, build_engine

RTX = importlib.util.find_spec("tensorrt_rtx") is not None
needs_rtx = pytest.mark.skipif(not RTX, reason="the package tensorrt-rtx is not installed")


def write(
    path: Path, op: str = "Relu", *, batch: int | str = 1, typed: bool = True, **node: object
) -> Path:
    """x -> MatMul -> op -> y"""
    weight = np.eye(8, dtype=np.float32 if typed else np.float16)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node(op, ["h"], ["y"], name="second", **node),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 4, 8]) for name in "xy"
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [_tensor(weight)])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("attnc", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def _tensor(array: np.ndarray) -> TensorProto:
    return onnx.numpy_helper.from_array(array, "w")


@needs_rtx
def test_what_a_build_tells(tmp_path: Path) -> None:
    model, plan = write(tmp_path / "m.onnx", batch="n"), tmp_path / "m.plan"
    found = build_engine(model, "86,120", batch=(1, 4, 8), plan=plan)
    assert (found.sm, found.batch) == ("86,120", "1-8")
    assert found.plan_bytes == plan.stat().st_size
    assert {"first", "second"} <= {name for layer in found.layers for name in layer.nodes}
    document = found.as_json("fp32", "dynamic")
    assert set(document) == {
        "sm",
        "precision",
        "batch",
        "kernels",
        "fused_attentions",
        "plugin_layers",
        "moving_kernels",
        "plan_bytes",
    }
    assert (document["batch"], document["kernels"]) == ("1-8", len(found.layers))
    assert sorted(tmp_path.iterdir()) == [model, plan]


@needs_rtx
def test_a_fixed_batch_is_a_number(tmp_path: Path) -> None:
    found = build_engine(write(tmp_path / "m.onnx"), "89")
    assert found.batch == "static"
    assert found.as_json("fp32", 1)["batch"] == 1


@needs_rtx
def test_what_the_parser_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        build_engine(write(tmp_path / "m.onnx", "Det"), "89")
    said = caught.value.render()
    assert "TensorRT did not parse the engine for sm_89" in said
    assert "node 'second' (Det)" in said
    assert str(tmp_path / "m.onnx") in said
    assert caught.value.exit_code == ExitCode.UNSUPPORTED


@needs_rtx
def test_an_operator_of_ours_without_plugin_and_body(tmp_path: Path) -> None:
    how = {"domain": "attnc", "plugin_namespace": "attnc", "plugin_version": "1"}
    with pytest.raises(EngineError, match="MapAttention"):
        build_engine(write(tmp_path / "m.onnx", "MapAttention", **how), "89")


@needs_rtx
def test_two_types_in_one_product(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"(?i)type"):
        build_engine(write(tmp_path / "m.onnx", typed=False), "89")


@needs_rtx
def test_no_model_at_all(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"certainly no model")
    with pytest.raises(EngineError):
        build_engine(tmp_path / "m.onnx", "89")


@needs_rtx
@pytest.mark.parametrize("sm", ["87", "90", "110", "999", "89,87"])
def test_architectures_that_it_does_not_build_for(tmp_path: Path, sm: str) -> None:
    refused = sm.rpartition(",")[2]
    with pytest.raises(EngineError, match=f"builds nothing for sm_{refused}"):
        build_engine(write(tmp_path / "m.onnx"), sm)


@needs_rtx
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os\n    os.abort()", "ended with signal SIGABRT"),
        ("import os\n    os._exit(3)", "ended with exit code 3: silently"),
        ("raise ValueError('no plugin today')", "ValueError: no plugin today"),
    ],
)
def test_an_abort_is_an_error_with_its_cause(tmp_path: Path, body: str, said: str) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(f"def register(trt):\n    {body}\n", encoding="utf-8")
    with pytest.raises(EngineError) as caught:
        build_engine(write(tmp_path / "m.onnx"), "89", plugin=plugin)
    text = caught.value.render()
    assert said in text
    assert 'File "' not in text
    assert "sm_89" in text
    # and the next build works
    assert build_engine(write(tmp_path / "m.onnx"), "89").layers


@needs_rtx
def test_what_an_abort_wrote_is_kept(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    lines = "import os, sys\n    print('of two types', file=sys.stderr, flush=True)\n    os.abort()"
    plugin.write_text(f"def register(trt):\n    {lines}\n", encoding="utf-8")
    with pytest.raises(EngineError, match="of two types"):
        build_engine(write(tmp_path / "m.onnx"), "89", plugin=plugin)


@needs_rtx
def test_nothing_is_written_beside_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    plugin = tmp_path / "plugin.py"
    plugin.write_text("def register(trt):\n    pass\n", encoding="utf-8")
    model = write(tmp_path / "m.onnx")
    build_engine(model, "89", plugin=plugin)
    assert sorted(tmp_path.iterdir()) == [model, plugin]


@needs_rtx
def test_a_build_that_takes_too_long(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("def register(trt):\n    import time\n    time.sleep(60)\n", encoding="utf-8")
    with pytest.raises(EngineError, match="longer than 2 s for sm_89"):
        build_engine(write(tmp_path / "m.onnx"), "89", plugin=plugin, seconds=2)


def test_without_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "rtx_version", lambda: None)
    with pytest.raises(MissingRuntimeError, match="not installed") as caught:
        build_engine(write(tmp_path / "m.onnx"), "89")
    assert "attnc[tensorrt]" in caught.value.render()


def test_an_engine_without_a_list_of_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"layers": "", "plan_bytes": 1, "plan_sha256": "0" * 64, "warnings": []}
    monkeypatch.setattr(engine, "_ask", lambda *_: answer)
    with pytest.raises(EngineError, match="listed no kernels"):
        build_engine(write(tmp_path / "m.onnx"), "89")


def test_engine_errors_are_of_the_tree() -> None:
    assert issubclass(EngineError, UnsupportedError)


# --- the process of its own ----------------------------------------------------------------------


class Libc:
    """personality: as it is; `allowed` to change it."""

    def __init__(self, now: int, allowed: bool) -> None:
        self.now, self.allowed = now, allowed

    def personality(self, wanted: int) -> int:
        """Ask with all bits set."""
        if wanted == 0xFFFFFFFF:
            return self.now
        return self.now if self.allowed else -1


@pytest.mark.parametrize(
    ("libc", "again"), [(Libc(0, True), True), (Libc(0, False), False), (Libc(-1, True), False)]
)
def test_it_starts_again_only_where_it_may(
    monkeypatch: pytest.MonkeyPatch, libc: Libc, again: bool
) -> None:
    calls = list[dict[str, str]]()
    monkeypatch.setattr(child.sys, "platform", "linux")
    monkeypatch.setattr(child.ctypes, "CDLL", lambda name: libc)
    monkeypatch.setattr(child.os, "execve", lambda path, arguments, env: calls.append(env))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/libraries")
    monkeypatch.setenv("SOMETHING_ELSE", "x")
    child.fix_addresses()
    assert bool(calls) == again
    for settled in calls:
        assert settled["LD_LIBRARY_PATH"] == "/libraries"
        assert "SOMETHING_ELSE" not in settled
        monkeypatch.setattr(os, "environ", settled)
        child.fix_addresses()
    assert len(calls) == int(again)


def test_it_stays_as_it_is_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child.sys, "platform", "win32")
    monkeypatch.setattr(child.os, "execve", lambda *_: pytest.fail("started again"))
    child.fix_addresses()


def test_requests_are_plain_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = tmp_path / "request.json", tmp_path / "answer.json"
    asked.write_text(json.dumps({"model": "m"}), encoding="utf-8")
    monkeypatch.setattr(child, "fix_addresses", lambda: None)
    monkeypatch.setattr(child, "build", lambda request: {"errors": [request["model"]]})
    monkeypatch.setattr(child.sys, "argv", ["child", str(asked), str(answered)])
    child.main()
    assert json.loads(answered.read_text()) == {"errors": ["m"]}
