"""TensorRT for RTX builds what was lowered: plugins, fused attentions, no more kernels."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from author_networks import AUTHORS, ONE_EACH, plain, semantic, with_plugins

from attnc.runtimes.tensorrt.engine import DYNAMIC_BATCH, Engine, EngineError, build_engine
from attnc.runtimes.tensorrt.layers import attentions, plugins

RTX = importlib.util.find_spec("tensorrt_rtx") is not None
pytestmark = pytest.mark.skipif(not RTX, reason="the package tensorrt-rtx is not installed")


def build(name: str, model: Path, sm: str, *, plugin: bool) -> Engine:
    free = not isinstance(semantic(name).graph.inputs[0].shape[0], int)
    file = model.parent / "plugin.py" if plugin else None
    return build_engine(model, sm, plugin=file, batch=DYNAMIC_BATCH if free else None)


def check(name: str, folder: Path, sm: str, precision: str) -> None:
    engine = build(name, with_plugins(name, folder, precision), sm, plugin=True)
    author = AUTHORS[name]
    assert plugins(engine.layers) == sum(author.plugins.values())
    if precision != "fp32":
        assert attentions(engine.layers) >= author.attentions
    try:
        usual = build(name, plain(name, folder, precision), sm, plugin=False)
    except EngineError as error:
        if "dedicated kernel" in error.message:  # an author's own operator Attention, in float32
            return
        raise
    assert len(engine.layers) <= len(usual.layers)


@pytest.mark.parametrize("name", ONE_EACH)
def test_one_of_each_family(tmp_path: Path, name: str) -> None:
    check(name, tmp_path, "86", "fp16")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("sm", ["86", "120"])
@pytest.mark.parametrize("name", AUTHORS)
def test_every_author(tmp_path: Path, name: str, sm: str, precision: str) -> None:
    check(name, tmp_path, sm, precision)


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    model = with_plugins("glnet_dynamic", tmp_path, "fp16")
    first, second = (
        build_engine(
            model,
            "89,120",
            plugin=tmp_path / "plugin.py",
            batch=DYNAMIC_BATCH,
            plan=tmp_path / f"{turn}.plan",
        )
        for turn in range(2)
    )
    assert first == second
    assert first.batch == "1-32"
    data = (tmp_path / "0.plan").read_bytes()
    assert data == (tmp_path / "1.plan").read_bytes()
    assert len(data) == first.plan_bytes
    assert b"// PTX" in data


def test_nodes_of_the_graph_are_named_by_their_kernels(tmp_path: Path) -> None:
    model = with_plugins("glnet_dynamic", tmp_path, "fp16")
    engine = build("glnet_dynamic", model, "89", plugin=True)
    import onnx_ir as ir

    names = {node.name for node in ir.load(model).graph}
    told = {name for layer in engine.layers for name in layer.nodes}
    assert told
    assert len(told & names) > 0.8 * len(told)
