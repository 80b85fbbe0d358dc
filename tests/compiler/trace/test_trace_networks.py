"""Tracing of names, modules, factories and archives."""

import hashlib
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from exports import SMALL, images
from torch import nn

from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.provenance import source_line, torch_module
from attnc.compiler.trace import trace
from attnc.compiler.trace.hashing import hash_state_dict
from attnc.model_defs.registry import build_model

OPTIONS = {key: getattr(SMALL, key) for key in ("embed_dim", "depth", "partial_dim")}
SIZE = (64, 96)


def run(traced, x):
    session = onnxruntime.InferenceSession(ir.to_proto(traced.model).SerializeToString())
    return session.run(None, {traced.input.name: x})[0]


def small(**options):
    return trace("shvit_s1", image_size=SIZE, num_classes=10, options=OPTIONS, **options)


@pytest.fixture(scope="module")
def dynamic():
    return small(batch="dynamic")


def test_a_listed_name(dynamic):
    assert dynamic.input.model_dump() == {
        "name": "input",
        "dtype": "float32",
        "shape": ("batch", 3, 64, 96),
    }
    assert [(o.name, o.shape) for o in dynamic.outputs] == [("logits", ("batch", 10))]
    assert dynamic.batch == "dynamic"
    assert dynamic.image_size == SIZE
    assert dynamic.preprocessing.crop_fraction == 0.875
    assert dynamic.preprocessing.image_size == SIZE
    assert dynamic.source.kind == "registry"
    assert dynamic.source.seed == 0
    assert len(dynamic.weights_sha256) == 64


def test_the_graph_is_valid_and_portable(dynamic):
    proto = ir.to_proto(dynamic.model)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version == 9
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 20)]


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_a_dynamic_batch_takes_any(dynamic, batch):
    x = images(batch)
    expected = dynamic.reference(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(dynamic, x), expected, atol=1e-5)


def test_a_fixed_batch():
    traced = small(batch=3)
    assert traced.batch == 3
    assert traced.input.shape == (3, 3, 64, 96)
    x = images(3)
    np.testing.assert_allclose(
        run(traced, x), traced.reference(torch.from_numpy(x)).numpy(), atol=1e-5
    )


def test_nodes_know_their_module_and_line(dynamic):
    by_op = {}
    for node in dynamic.model.graph:
        by_op.setdefault(node.op_type, []).append(node)
        assert source_line(node).startswith("shvit.py:"), node
    assert torch_module(by_op["Softmax"][0]) == "blocks2.3.mixer.m"
    assert torch_module(by_op["Sigmoid"][1]) == "blocks3.1.se"
    assert torch_module(by_op["Gemm"][0]) == "head.l"


def test_nothing_of_this_machine_is_in_the_graph(dynamic):
    text = ir.to_proto(dynamic.model).SerializeToString()
    for trap in (b"site-packages", b"/", b"s77"):
        parts = [part for part in text.split(b"\x00") if trap in part and part.isascii()]
        assert trap == b"/" or not parts
    for node in dynamic.model.graph:
        assert set(node.metadata_props) <= {"attnc.module", "attnc.source"}
        assert not any("/" in value for value in node.metadata_props.values())


def test_two_processes_give_the_same_bytes(tmp_path):
    code = f"""
        import hashlib, onnx_ir as ir
        from attnc.compiler.trace import trace
        t = trace("shvit_s1", image_size={SIZE}, num_classes=10, options={OPTIONS}, batch="dynamic")
        print(hashlib.sha256(ir.to_proto(t.model).SerializeToString()).hexdigest())
    """
    digests = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={"PYTHONHASHSEED": seed, "PATH": "", "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            check=True,
        )
        digests.add(done.stdout)
        assert len(done.stdout.strip()) == 64, "something else was printed"
    assert len(digests) == 1


def test_a_module_is_copied_and_stays_as_it_is():
    model = build_model("shvit_s1", num_classes=10, **OPTIONS).train()
    before = hashlib.sha256(model.head.l.weight.numpy().tobytes()).hexdigest()
    traced = trace(model, image_size=64)
    assert model.training
    assert not traced.reference.training
    assert before == hashlib.sha256(model.head.l.weight.numpy().tobytes()).hexdigest()
    assert traced.source.kind == "module"
    assert traced.preprocessing.mean == (0.485, 0.456, 0.406)


def test_the_weights_hash_follows_the_weights():
    first, other = (build_model("shvit_s1", seed=seed, **OPTIONS).state_dict() for seed in (0, 1))
    backwards = dict(reversed(first.items()))
    assert hash_state_dict(first) == hash_state_dict(backwards) != hash_state_dict(other)


def test_a_checkpoint(tmp_path):
    path = tmp_path / "w.pth"
    state = build_model("shvit_s1", num_classes=10, seed=4, **OPTIONS).state_dict()
    torch.save({"model": state}, path)
    traced = small(checkpoint=path)
    assert traced.source.checkpoint_name == "w.pth"
    assert traced.source.seed is None
    assert torch.equal(traced.reference.state_dict()["head.l.bias"], state["head.l.bias"])


class Plain(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, classes, 3, padding=1)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def test_a_module_that_says_nothing_about_its_input():
    with pytest.raises(UsageError, match="image size") as caught:
        trace(Plain())
    assert "--image-size" in caught.value.remedy
    assert trace(Plain(), image_size=32).preprocessing is None


def test_half_precision_modules_are_not_widened_silently():
    with pytest.raises(UnsupportedError, match="float16"):
        trace(Plain().half(), image_size=32)


class Branches(Plain):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x.mean((2, 3))


class TwoOutputs(Plain):
    def forward(self, x):
        return {"logits": super().forward(x), "features": x}


class ForgetsBatch(Plain):
    def forward(self, x):
        return self.conv(x).reshape(2, 3, -1).mean(-1)


def test_networks_that_cannot_be_traced():
    with pytest.raises(UnsupportedError, match="Branches cannot be traced"):
        trace(Branches(), image_size=32)
    with pytest.raises(UnsupportedError, match=r"batch|traced"):
        trace(ForgetsBatch(), image_size=32, batch="dynamic")
    with pytest.raises(UnsupportedError, match="2 outputs"):
        trace(TwoOutputs(), image_size=32)


@pytest.mark.parametrize("batch", [0, -1, 1.5, "many", True, None])
def test_bad_batches(batch):
    with pytest.raises(UsageError, match="batch"):
        trace("shvit_s1", batch=batch)


@pytest.mark.parametrize("size", [0, (64, -1), (1, 2, 3), "224", 64.0])
def test_bad_sizes(size):
    with pytest.raises(UsageError, match="image size"):
        trace("shvit_s1", image_size=size)


def test_sizes_and_names_that_the_registry_refuses():
    with pytest.raises(UsageError, match="32x64") as caught:
        trace("shvit_s1", image_size=(32, 64))
    assert "at least 64" in caught.value.remedy
    with pytest.raises(UsageError, match="shvit_s9") as caught:
        trace("shvit_s9")
    assert "did you mean" in caught.value.remedy
    with pytest.raises(UsageError, match="holds weights"):
        trace("weights.pth")
    with pytest.raises(UsageError, match="is no model"):
        trace(3)
    with pytest.raises(UsageError, match="does not exist"):
        trace("shvit_s1", checkpoint="nowhere.pth")


FACTORY = """
import torch
from torch import nn
print("a print on import")

def build(num_classes=3):
    print("a print in the factory")
    return nn.Sequential(nn.Conv2d(3, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

net = build()
number = 3

def fails():
    return {}["weights"]

def leaves():
    raise SystemExit(4)

def no_module():
    return 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "their_nets.py").write_text(FACTORY)
    (tmp_path / "broken_nets.py").write_text("import no_such_package\n")
    (tmp_path / "typo_nets.py").write_text("x = 1\ndef f(:\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("their_nets", "broken_nets", "typo_nets"):
        sys.modules.pop(name, None)


def test_a_factory_in_the_current_folder(folder, capsys):
    path_before = list(sys.path)
    traced = trace("their_nets:build", image_size=32, num_classes=5, batch=2)
    assert capsys.readouterr().out == ""
    assert sys.path == path_before
    assert traced.outputs[0].shape == (2, 5)
    assert traced.source.kind == "factory"
    assert traced.source.name == "their_nets:build"
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(
        run(traced, x), traced.reference(torch.from_numpy(x)).numpy(), atol=1e-5
    )
    assert trace("their_nets:net", image_size=32).outputs[0].shape == (1, 3)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("their_nets:fails", "calling their_nets:fails failed: KeyError: 'weights'"),
        ("their_nets:leaves", "SystemExit: 4"),
        ("their_nets:no_module", "returned a int"),
        ("their_nets:number", "is a int"),
        ("their_nets:bild", "has no 'bild'"),
        ("no_such_nets:build", "ModuleNotFoundError"),
        ("broken_nets:build", "No module named 'no_such_package'"),
        ("typo_nets:f", "SyntaxError"),
        ("their_nets:", "package.module:factory"),
        (":build", "package.module:factory"),
    ],
)
def test_factories_that_fail(folder, spec, told):
    with pytest.raises(UsageError) as caught:
        trace(spec, image_size=32)
    assert told in str(caught.value)


def test_a_failing_factory_names_its_line(folder):
    with pytest.raises(UsageError) as caught:
        trace("their_nets:fails", image_size=32)
    line = FACTORY.splitlines().index('    return {}["weights"]') + 1
    assert caught.value.where == f"their_nets:fails (their_nets.py:{line})"


@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_an_archive(tmp_path, dynamic_batch):
    model = build_model("shvit_s1", num_classes=10, **OPTIONS)
    shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic_batch else None
    program = torch.export.export(model, (torch.zeros(2, 3, *SIZE),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "net.pt2")
    traced = trace(tmp_path / "net.pt2", batch="dynamic" if dynamic_batch else 2)
    assert traced.source.kind == "exported-program"
    assert traced.outputs[0].shape == ("batch" if dynamic_batch else 2, 10)
    x = images(5 if dynamic_batch else 2)
    expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(traced, x), expected, atol=1e-5)
    if not dynamic_batch:
        with pytest.raises(UnsupportedError, match="exported for a batch of 2, not 1") as caught:
            trace(tmp_path / "net.pt2")
        assert "--batch 2" in caught.value.remedy


def test_archives_that_are_none(tmp_path):
    (tmp_path / "bad.pt2").write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="not a readable"):
        trace(tmp_path / "bad.pt2")
    with pytest.raises(UsageError, match="no file"):
        trace(tmp_path / "none.pt2")
