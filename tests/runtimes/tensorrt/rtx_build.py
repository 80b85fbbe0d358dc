"""Builds an engine around the plugins of `plugin_cases.py`; run in a process of its own.

python rtx_build.py BUNDLE PRECISION static|dynamic PLAN [LIBRARY]
Prints as JSON: shapes and types of the outputs, and what came back of serialised fields. With
LIBRARY the plugins are those of the C++ library.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tensorrt_rtx as trt
from onnx import TensorProto, helper
from plugin_cases import load

TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def model(precision: str, batch: Any) -> bytes:
    """Both operators with standard ones behind them."""
    kind = TYPES[precision]
    known = {"domain": "attnc", "plugin_namespace": "attnc", "plugin_version": "1"}
    attributes = {"dim_qk": 16, "dim_v": 16, "scale": 0.25}
    nodes = [
        helper.make_node("MapLike", ["qkv", "x"], ["m"], **attributes, **known),
        helper.make_node("Relu", ["m"], ["y"]),
        helper.make_node("Choose", ["t", "i"], ["a", "b", "c"], keep=3, grid=[2, 2], **known),
        helper.make_node("Relu", ["a"], ["d"]),
        helper.make_node("Relu", ["c"], ["e"]),
    ]
    shapes = {"qkv": [48, 7, 5], "x": [64, 7, 5], "t": [9, 8]}
    inputs = [helper.make_tensor_value_info(n, kind, [batch, *s]) for n, s in shapes.items()]
    inputs.append(helper.make_tensor_value_info("i", TensorProto.INT64, [batch, 4]))
    outputs = [helper.make_tensor_value_info(n, kind, None) for n in ("y", "d", "e")]
    outputs.append(helper.make_tensor_value_info("b", TensorProto.INT64, None))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("attnc", 1)]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return made


def build(data: bytes, dynamic: bool, plan: Path) -> dict[str, Any]:
    """Build for compute capability 8.9."""
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(data), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    if dynamic:
        profile = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            sizes = list(tensor.shape)[1:]
            profile.set_shape(tensor.name, (1, *sizes), (4, *sizes), (8, *sizes))
        config.add_optimization_profile(profile)
    plan.write_bytes(bytes(builder.build_serialized_network(network, config)))
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return {tensor.name: [list(tensor.shape), tensor.dtype.name] for tensor in outputs}


def round_trip(plugin: Any) -> dict[str, Any]:
    """Serialise the fields of a plugin, make one from them, clone it."""
    operator = next(o for o in plugin.OPERATORS if o.name == "Choose")
    code = {"ptx": b"a\0b", "sm_87": b"\0\1\2\0"}
    first = plugin.plugin_class(trt)(operator, {"keep": 3, "grid": [2, 5]}, code)
    fields = first.get_fields_to_serialize()
    creator = plugin.creator_class(trt)(operator)
    second = creator.create_plugin("node", fields, trt.TensorRTPhase.RUNTIME).clone()
    return {"attributes": second.attributes, "code": second.code == code}


def main(bundle: str, precision: str, batch: str, plan: str, library: str = "") -> None:
    """Register (twice), build, report."""
    found = {}
    if library:
        trt.get_plugin_registry().load_library(library)
    else:
        plugin = load(Path(bundle) / "plugin.py", "plugin")
        plugin.register()
        plugin.register(trt)
        found = round_trip(plugin)
    dynamic = batch == "dynamic"
    outputs = build(model(precision, "batch" if dynamic else 2), dynamic, Path(plan))
    print(json.dumps({"outputs": outputs, **found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
