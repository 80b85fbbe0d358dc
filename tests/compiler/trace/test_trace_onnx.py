"""Tracing of `.onnx` files: every exporter's habits in, every broken file out."""

import copy

import exports
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.trace import trace


def run(model, name, x):
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    return session.run(None, {name: x})[0]


@pytest.mark.parametrize("style", list(exports.STYLES))
def test_every_style_comes_to_one_opset(style, tmp_path):
    if exports.missing(style):
        pytest.skip(exports.missing(style))
    (tmp_path / "m.onnx").write_bytes(exports.export(style))
    batch = exports.STYLES[style].batch
    traced = trace(tmp_path / "m.onnx", batch=batch)
    proto = ir.to_proto(traced.model)
    onnx.checker.check_model(proto, full_check=True)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 20)]
    assert traced.input.shape == ("batch" if batch == "dynamic" else batch, 3, *exports.SIZE)
    assert traced.outputs[0].shape[1:] == (exports.CLASSES,)
    x = exports.images(3 if batch == "dynamic" else batch)
    expected = exports.network("ours")(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(traced.model, "input", x), expected, atol=1e-5)


@pytest.fixture
def proto():
    return onnx.load_from_string(exports.export("ours"))


@pytest.fixture
def dynamic_proto():
    return onnx.load_from_string(exports.export("ours_dynamic"))


def written(tmp_path, proto, **options):
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, **options)
    return path


def test_names_of_foreign_files_are_kept(tmp_path, proto):
    for node in proto.graph.node:
        node.input[:] = ["pixels" if name == "input" else name for name in node.input]
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    proto.graph.input[0].name, proto.graph.output[0].name = "pixels", "scores"
    traced = trace(written(tmp_path, proto))
    assert (traced.input.name, traced.outputs[0].name) == ("pixels", "scores")
    assert traced.reference == tmp_path / "model.onnx"
    assert traced.preprocessing is None
    assert traced.source.name == "model.onnx"


def test_a_dynamic_file_takes_a_fixed_batch(tmp_path, dynamic_proto):
    traced = trace(written(tmp_path, dynamic_proto), batch=4)
    assert traced.input.shape[0] == 4
    assert traced.outputs[0].shape == (4, 10)


def test_a_fixed_file_takes_no_other_batch(tmp_path, proto):
    for batch in (3, "dynamic"):
        with pytest.raises(UnsupportedError, match="batch of 1, not"):
            trace(written(tmp_path, proto), batch=batch)


def test_a_batch_that_is_dynamic_in_name_only(tmp_path):
    baked = onnx.load_from_string(exports.export("ours_batch3"))
    for value in (baked.graph.input[0], baked.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    with pytest.raises(UnsupportedError, match="dynamic in name only") as caught:
        trace(written(tmp_path, baked), batch="dynamic")
    assert "Reshape" in caught.value.where


def test_a_dynamic_batch_behind_arithmetic_that_nobody_folded(tmp_path):
    """Sizes that go through scalars and back: ONNX's own inference loses them."""
    nodes = [
        helper.make_node("Shape", ["x"], ["n1"], start=0, end=1),
        helper.make_node("Squeeze", ["n1"], ["n"]),
        helper.make_node("Reshape", ["n", "one"], ["again"]),
        helper.make_node("Concat", ["again", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["rows"]),
        helper.make_node("Relu", ["rows"], ["y"]),
    ]
    sizes = {"one": [1], "rest": [12]}
    constants = [onnx.numpy_helper.from_array(np.array(v), name) for name, v in sizes.items()]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 3, 2, 2]), ("y", ["n", 12]))
    ]
    graph = helper.make_graph(nodes, "sizes", ends[:1], ends[1:], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    traced = trace(written(tmp_path, proto), batch="dynamic")
    assert traced.outputs[0].shape == ("batch", 12)


@pytest.mark.parametrize(("axis", "name"), [(2, "height"), (3, "width")])
def test_dynamic_space_is_refused_and_can_be_fixed(tmp_path, axis, name):
    text = exports.export("ours_ts17_dynamic")
    proto = onnx.load_from_string(text)
    proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "space"
    del proto.graph.value_info[:]
    path = written(tmp_path, proto)
    with pytest.raises(UnsupportedError, match=f"{name} .* is dynamic") as caught:
        trace(path)
    assert caught.value.where == f"input input, axis {axis}"
    assert "--image-size" in caught.value.remedy
    traced = trace(path, image_size=exports.SIZE, batch=2)
    assert traced.image_size == exports.SIZE
    x = exports.images(2)
    expected = exports.network("ours")(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(traced.model, "input", x), expected, atol=1e-5)


def test_another_size_than_the_exported_one(tmp_path, proto):
    with pytest.raises(UnsupportedError, match="exported for a height of 64, not 224"):
        trace(written(tmp_path, proto), image_size=224)


def test_options_for_networks_are_refused(tmp_path, proto):
    path = written(tmp_path, proto)
    with pytest.raises(UsageError, match="--num-classes"):
        trace(path, num_classes=10)
    with pytest.raises(UsageError, match="--checkpoint"):
        trace(path, checkpoint="w.pth")


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x89PNG\r\n\x1a\n" * 10, b"\x08\x09"])
def test_files_that_are_not_onnx(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not an ONNX model"):
        trace(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files(tmp_path, share):
    data = exports.export("ours")
    path = tmp_path / "m.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UsageError, match=r"not an? (valid )?ONNX model"):
        trace(path)


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        trace(tmp_path / "m.onnx")


def test_external_data(tmp_path, proto):
    inline = trace(written(tmp_path, copy.deepcopy(proto)))
    path = written(tmp_path, proto, save_as_external_data=True, location="w.bin", size_threshold=0)
    traced = trace(path)
    assert traced.weights_sha256 == inline.weights_sha256
    data = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(data[:-100])
    with pytest.raises(UsageError, match="truncated"):
        trace(path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(UsageError, match=r"missing: no file 'w.bin'"):
        trace(path)


def test_external_data_outside_the_folder(tmp_path, proto):
    (tmp_path / "secret").write_bytes(b"0" * 100)
    folder = tmp_path / "models"
    folder.mkdir()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(UsageError, match="outside its folder"):
        trace(folder / "m.onnx")


@pytest.mark.parametrize(
    ("domain", "op_type", "told"),
    [
        ("", "Frobnicate", "unknown operator Frobnicate"),
        ("com.microsoft", "FusedConv", "com.microsoft::FusedConv"),
        ("my.ops", "Mystery", "my.ops::Mystery"),
    ],
)
def test_unknown_operators_name_their_node(tmp_path, proto, domain, op_type, told):
    node = next(node for node in proto.graph.node if node.op_type == "Relu")
    node.op_type, node.domain = op_type, domain
    if domain:
        proto.opset_import.add(domain=domain, version=1)
    with pytest.raises(UnsupportedError) as caught:
        trace(written(tmp_path, proto))
    assert told in caught.value.message
    assert node.name in caught.value.where


def tiny(nodes, *, opset=20, shape=(1, 3, 8, 8), dtype=TensorProto.FLOAT, extra=()):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape), *extra],
        [helper.make_tensor_value_info("y", dtype, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def relu():
    return helper.make_node("Relu", ["x"], ["y"], name="r")


@pytest.mark.parametrize("opset", [9, 12, 24])
def test_opsets_beyond_the_supported(tmp_path, opset):
    with pytest.raises(UnsupportedError, match=f"opset {opset}"):
        trace(written(tmp_path, tiny([relu()], opset=opset)))


def test_inputs_that_are_no_picture(tmp_path):
    second = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])
    with pytest.raises(UnsupportedError, match=r"2 inputs \(x, z\)"):
        trace(written(tmp_path, tiny([relu()], extra=[second])))
    with pytest.raises(UnsupportedError, match="is not \\[batch"):
        trace(written(tmp_path, tiny([relu()], shape=(1, 77))))
    with pytest.raises(UnsupportedError, match="FLOAT16"):
        trace(written(tmp_path, tiny([relu()], dtype=TensorProto.FLOAT16)))


def test_an_operator_without_an_older_form_names_its_node(tmp_path):
    norm = helper.make_node("RMSNormalization", ["x", "w"], ["y"], name="the_norm")
    model = tiny([norm], opset=23)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [8], [1.0] * 8)
    model.graph.initializer.append(weight)
    with pytest.raises(UnsupportedError, match="RMSNormalization of opset 23") as caught:
        trace(written(tmp_path, model))
    assert "the_norm" in caught.value.where


def test_a_masked_attention_is_refused(tmp_path):
    node = helper.make_node("Attention", ["x", "x", "x"], ["y"], name="att", is_causal=1)
    with pytest.raises(UnsupportedError, match="causal"):
        trace(written(tmp_path, tiny([node], opset=23)))


@pytest.mark.parametrize("opset", [17, 23])
def test_reductions_splits_and_norms_across_opsets(tmp_path, opset):
    """Each operator that changed its form, against ONNX Runtime on the file as it was."""
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, name="s"),
        helper.make_node("Concat", ["b", "a"], ["c"], axis=1),
    ]
    initializers = []
    if opset == 17:
        nodes.append(helper.make_node("ReduceMean", ["c"], ["y"], axes=[2, 3], keepdims=0))
    else:
        initializers = [
            helper.make_tensor("g", TensorProto.FLOAT, [4], [1.0, -2.0, 3.0, 0.5]),
            helper.make_tensor("h", TensorProto.FLOAT, [4], [0.1, 0.2, -0.3, 0.4]),
        ]
        nodes[0].attribute.append(helper.make_attribute("num_outputs", 2))
        norm = helper.make_node("GroupNormalization", ["c", "g", "h"], ["n"], num_groups=2)
        nodes += [norm, helper.make_node("Attention", ["n", "c", "x"], ["y"], scale=0.3)]
    model = tiny(nodes, opset=opset, shape=(2, 4, 6, 8))
    model.graph.initializer.extend(initializers)
    model.ir_version = 8 if opset == 17 else 10
    path = written(tmp_path, model)
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 8)).astype(np.float32)
    expected = onnxruntime.InferenceSession(path).run(None, {"x": x})[0]
    traced = trace(path, batch=2)
    onnx.checker.check_model(ir.to_proto(traced.model), full_check=True)
    np.testing.assert_allclose(run(traced.model, "x", x), expected, atol=1e-5)


def test_functions_in_the_file_are_inlined(tmp_path):
    double = helper.make_function(
        "my",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 20)],
    )
    model = tiny([helper.make_node("Twice", ["x"], ["y"], domain="my")])
    model.functions.append(double)
    model.opset_import.append(helper.make_opsetid("my", 1))
    traced = trace(written(tmp_path, model))
    assert [node.op_type for node in traced.model.graph] == ["Add"]
