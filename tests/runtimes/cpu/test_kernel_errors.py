"""What the operators say when they are used wrongly, and the shapes that they announce."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from kernel_cases import all_cases, attention, dense

from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.cpu.library import cpu_features, library_path, register


@pytest.fixture(scope="module")
def cases(seed):
    return all_cases(np.random.default_rng(seed))


def open_session(library, model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    register(options, library)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def without(model: bytes, attribute: str) -> bytes:
    proto = onnx.load_from_string(model)
    kept = [a for a in proto.graph.node[0].attribute if a.name != attribute]
    del proto.graph.node[0].attribute[:]
    proto.graph.node[0].attribute.extend(kept)
    return proto.SerializeToString()


def test_a_weight_of_another_size_names_operator_node_and_both_sizes(cases, library):
    case = cases["ffn-49"]
    case.weights[2] = case.weights[2][:-1]
    with pytest.raises(Exception, match=r"FeedForwardNhwc \(node\): input 3 has \d+ elem"):
        open_session(library, case.model()).run(None, case.feeds())


def test_channels_that_do_not_fit_are_refused(cases, library):
    case = cases["ffn-1"]
    session = open_session(library, case.model())
    with pytest.raises(Exception, match=r"channels do not fit for x of shape \[1, 1, 1, 4\]"):
        session.run(None, {"x": np.zeros((1, 1, 1, 4), np.float32)})


def test_a_window_larger_than_the_map_is_refused(seed, library):
    case = dense(np.random.default_rng(seed), "ConvNhwc", 1, 6, 6, 4, 16, pads=(0, 0, 0, 0))
    session = open_session(library, case.model())
    with pytest.raises(Exception, match="ConvNhwc"):
        session.run(None, {"x": np.zeros((1, 2, 6, 4), np.float32)})


@pytest.mark.parametrize(
    ("name", "attribute"), [("ffn-1", "hidden"), ("att-5", "epsilon"), ("conv-s2", "kernel_shape")]
)
def test_a_missing_attribute_is_named(cases, library, name, attribute):
    with pytest.raises(Exception, match=f"attribute '{attribute}' is missing"):
        open_session(library, without(cases[name].model(), attribute))


def test_attributes_out_of_range_are_refused(seed, library):
    case = attention(np.random.default_rng(seed), 1, 2, 2, 16, 4, 8)
    case.attributes["dim_v"] = 17
    with pytest.raises(Exception, match="dim_v must not exceed channels"):
        open_session(library, case.model())
    case = dense(np.random.default_rng(seed), "ConvNhwc", 1, 6, 6, 4, 16)
    case.attributes["strides"] = [0, 1]
    with pytest.raises(Exception, match="strides"):
        open_session(library, case.model())


def test_an_unknown_instruction_set_is_refused_with_those_that_exist(library, monkeypatch):
    monkeypatch.setenv("ATTNC_CPU_ISA", "sse9")
    with pytest.raises(MissingRuntimeError, match=r"sse9 is unknown or not available.*plain"):
        register(ort.SessionOptions(), library)


def test_an_instruction_set_of_another_processor_is_refused(library, monkeypatch):
    foreign = "neon" if "neon" not in cpu_features() else "avx512"
    monkeypatch.setenv("ATTNC_CPU_ISA", foreign)
    with pytest.raises(MissingRuntimeError, match=foreign):
        register(ort.SessionOptions(), library)


def test_symbolic_dimensions_survive_shape_inference(cases, library):
    inferred = {
        name: open_session(library, cases[name].model()).get_outputs()[0].shape
        for name in ("conv-s2", "ffn-49", "pool", "stem-odd", "stem-gelu")
    }
    assert inferred["ffn-49"] == ["d0", "d1", "d2", 75]
    assert inferred["pool"] == ["d0", 1000]
    assert inferred["conv-s2"][0] == "d0"
    assert inferred["conv-s2"][3] == 56
    assert "d1,3,2,1,1,1" in inferred["conv-s2"][1]
    assert "d3" in inferred["stem-odd"][2]
    assert "d3" in inferred["stem-gelu"][2]


def test_fixed_shapes_are_inferred_exactly(cases, library):
    for name, case in cases.items():
        session = open_session(library, case.model(symbolic=False))
        assert session.get_outputs()[0].shape == list(case.expected.shape), name


def test_a_target_without_kernels_is_named_with_its_remedy():
    with pytest.raises(MissingRuntimeError, match="no kernels exist for amiga-68k"):
        library_path("amiga-68k")


def test_a_library_of_another_machine_is_refused(tmp_path):
    foreign = tmp_path / "attnc_kernels-other.so"
    foreign.write_bytes(b"\x7fELF" + bytes(60))
    with pytest.raises(MissingRuntimeError, match="could not be loaded"):
        register(ort.SessionOptions(), foreign)
