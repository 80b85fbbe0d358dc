"""Where nodes come from: reading exporters' notes, and handing them on."""

import onnx_ir as ir
import pytest

from attnc.compiler.provenance import (
    MODULE_KEY,
    SOURCE_KEY,
    compact,
    copy_metadata,
    describe,
    source_chain,
    source_line,
    torch_module,
)

STACK = (
    'File "/home/me/nets/net.py", line 12, in forward\n    x = self.stem(x)\n'
    '  File "/venv/lib/site-packages/torch/nn/modules/container.py", line 253, in forward\n'
    '  File "/home/me/nets/layers.py", line 7, in forward\n    return F.relu(x)\n'
    '  File "/venv/lib/site-packages/torch/nn/functional.py", line 1771, in relu'
)


def node(name="n", **props):
    made = ir.Node("", "Relu", [], name=name)
    made.metadata_props.update({key.replace("__", "."): value for key, value in props.items()})
    return made


def dynamo():
    made = node()
    made.metadata_props["pkg.torch.onnx.name_scopes"] = "['', 'stem', 'stem.act', 'relu_3']"
    made.metadata_props["pkg.torch.onnx.stack_trace"] = STACK
    made.metadata_props["namespace"] = ": net.Net/stem: net.Stem/relu_3: aten.relu.default"
    return made


def test_notes_of_the_dynamo_exporter():
    assert torch_module(dynamo()) == "stem.act"
    assert source_chain(dynamo()) == ["net.py:12", "layers.py:7"]
    assert source_line(dynamo()) == "layers.py:7"
    assert describe(dynamo()) == "Relu n (stem.act, layers.py:7)"


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("/blocks1/blocks1.0/conv/m/c/Conv", "blocks1.0.conv.m.c"),
        ("/stages/stages.1/blocks/blocks.0/mixer/m/Shape_1", "stages.1.blocks.0.mixer.m"),
        ("/head/l/Gemm", "head.l"),
        ("/Add", ""),
        ("node_conv2d_3", ""),
    ],
)
def test_names_of_the_torchscript_exporter(name, module):
    assert torch_module(node(name)) == module


def test_compact_keeps_the_facts_and_drops_the_folders():
    made = dynamo()
    compact(made)
    assert made.metadata_props == {
        MODULE_KEY: "stem.act",
        SOURCE_KEY: "net.py:12 > layers.py:7",
    }
    assert describe(made) == describe(dynamo())


def test_copies_get_what_the_replaced_nodes_share():
    old = [
        node(attnc__module="blocks.3.ffn.m.pw1", attnc__source="net.py:9 > net.py:5 > net.py:2"),
        node(),
        node(attnc__module="blocks.3.ffn.m.act", attnc__source="net.py:9 > net.py:5"),
        node(attnc__module="blocks.3.ffn", attnc__source="net.py:9 > net.py:5 > net.py:4"),
    ]
    new = [node("fused"), node("other")]
    copy_metadata(old, new)
    for made in new:
        assert torch_module(made) == "blocks.3.ffn"
        assert source_chain(made) == ["net.py:9", "net.py:5"]


def test_nothing_known_is_nothing_copied():
    new = node("fused")
    copy_metadata([node("a"), node("b")], [new])
    assert new.metadata_props == {}
    assert describe(new) == "Relu fused"
