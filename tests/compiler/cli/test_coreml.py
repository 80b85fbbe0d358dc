"""`--target coreml` from export to verify, on small networks."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import attnc
from attnc.compiler.bundle import READINGS_FILE, Bundle
from attnc.compiler.seeded_input import seeded_pixels

pytest.importorskip("coremltools")
pytestmark = pytest.mark.usefixtures("importable_data", "frozen_objects")

TARGET = ["--target", "coreml", "--profile", "iphone15"]
LABELS = [f"thing {index}" for index in range(10)]
SIDE = 24


@pytest.fixture(scope="module")
def frozen_objects() -> Iterator[None]:
    """Every conversion collects garbage; leaving out what was loaded makes it ten times faster."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("".join(f"{label}\n" for label in LABELS))
    return path


def named(labels: Path) -> list[Any]:
    """Options of the shared bundle."""
    given = ("author=A. Person", "license=MIT", "version=7", "made for=tests")
    options = [word for text in given for word in ("--metadata", text)]
    return [*TARGET, "--labels", labels, *options, "--json", "-"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coreml")


@pytest.fixture
def bundle(cli: Any, folder: Path, labels: Path) -> Path:
    """A classifier in float16, exported once; not to be changed."""
    output = folder / "classifier"
    if not output.exists():
        report_of(cli("export", "tiny_net:build", *named(labels), "-o", output))
    return output


def report_of(done: Any, code: int = 0) -> dict[str, Any]:
    assert done.code == code, done.err
    document = json.loads(done.out)
    assert isinstance(document, dict)
    return document


def by_name(report: dict[str, Any]) -> dict[str, Any]:
    return {check["name"]: check for check in report["checks"]}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != READINGS_FILE
    }


def picture(seed: int) -> Image.Image:
    """Noise of the network's size."""
    return Image.fromarray(seeded_pixels((SIDE, SIDE, 3), seed))


def source_logits(image: Image.Image) -> Any:
    """What the torch model gives for a picture, by the formula of its preprocessing."""
    import torch
    from tiny_net import build

    net = build()
    mean, std = (np.array(part) for part in (net.attnc_config.mean, net.attnc_config.std))
    x = ((np.asarray(image, np.float64) / 255 - mean) / std).transpose(2, 0, 1)[None]
    with torch.no_grad():
        return net(torch.from_numpy(np.ascontiguousarray(x, np.float32))).numpy()[0]


# --- export --------------------------------------------------------------------------------------


def test_the_manifest_says_what_it_is_for(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    entry = manifest.coreml
    assert entry is not None
    assert (manifest.target, manifest.profile) == ("coreml", "iphone15")
    assert (manifest.precision, manifest.float32_regions) == ("fp16", ())
    assert (entry.ios, entry.specification_version, entry.input) == (17, 8, "image")
    assert entry.classifier
    assert entry.operations["conv"] == entry.operations["classify"] == 1
    assert "const" not in entry.operations
    assert entry.weight_bytes == sum(path.stat().st_size for path in bundle.rglob("weight.bin"))
    assert {file.path for file in manifest.files} == set(contents(bundle)) - {"manifest.json"}


def test_the_package_carries_the_metadata(bundle: Path) -> None:
    from attnc.runtimes.coreml.package import open_package

    manifest = Bundle.open(bundle).manifest
    metadata = open_package(bundle / "model.mlpackage").metadata
    assert metadata["attnc.manifest"] == manifest.contents_digest()
    assert metadata["attnc.weights"] == manifest.source.weights_sha256
    assert "covers 27 x 27 pixels" in metadata["attnc.preprocessing"]
    given = {"author": "A. Person", "license": "MIT", "versionString": "7", "made for": "tests"}
    assert given.items() <= metadata.items()
    assert not any("conversion_date" in key for key in metadata)


def test_every_origin_is_an_operation(bundle: Path) -> None:
    from attnc.runtimes.coreml.package import open_package

    program = open_package(bundle / "model.mlpackage").program
    names = {operation.name for operation in program.functions["main"].block.walk()}
    origins = json.loads((bundle / "origins.json").read_text())
    assert origins
    assert origins.keys() <= names


def test_a_second_export_is_the_same_bytes(
    cli: Any, bundle: Path, labels: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a_longer_name_than_the_first"
    done = cli("export", "tiny_net:build", *named(labels), "-o", output)
    assert report_of(done)["manifest"]["coreml"]["package"] == "model.mlpackage"
    first, second = contents(bundle), contents(output)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.parametrize("seed", [3, 4])
def test_the_label_is_that_of_the_source(bundle: Path, seed: int) -> None:
    from attnc.runtimes.coreml.evaluator import Evaluator
    from attnc.runtimes.coreml.package import open_package

    expected = source_logits(picture(seed))
    results = Evaluator(open_package(bundle / "model.mlpackage")).run({"input": picture(seed)})
    assert set(results) == {"classLabel", "classLabel_probs", "logits"}
    assert results["classLabel"] == LABELS[int(expected.argmax())]
    np.testing.assert_allclose(results["logits"][0], expected, atol=2e-3)
    raised = np.exp(expected - expected.max())
    chances = [results["classLabel_probs"][label] for label in LABELS]
    np.testing.assert_allclose(chances, raised / raised.sum(), atol=1e-3)


@pytest.mark.parametrize(
    ("precision", "stored"),
    [
        ("fp32", ""),
        ("int8w", "constexpr_affine_dequantize"),
        ("pal4w", "constexpr_lut_to_dense"),
    ],
)
def test_other_precisions(cli: Any, tmp_path: Path, precision: str, stored: str) -> None:
    output = tmp_path / "b"
    how = [*TARGET, "--precision", precision, "--option", "num_classes=110"]  # 2200 weights
    manifest = report_of(cli("export", "tiny_net:build", *how, "-o", output, "--json", "-"))
    assert manifest["manifest"]["precision"] == precision
    kinds = manifest["manifest"]["coreml"]["operations"]
    assert [kind for kind in kinds if kind.startswith("constexpr")] == [stored][: bool(stored)]
    checks = by_name(report_of(cli("verify", output, "--json", "-")))
    assert checks[f"mlprogram.parity.{precision}"]["status"] == "verified"
    assert checks["mlprogram.parity.fp32"]["status"] == "verified"


# --- verify --------------------------------------------------------------------------------------


def test_verify(cli: Any, bundle: Path, tmp_path: Path) -> None:
    before = contents(bundle)
    done = cli("verify", bundle, "--json", tmp_path / "report.json")
    assert done.code == 0, done.err
    assert done.err.splitlines()[-1] == "verified"
    report = json.loads((tmp_path / "report.json").read_text())
    checks = by_name(report)
    assert report["ok"]
    assert all(name in done.out for name in checks)
    assert "failed" not in {check["status"] for check in report["checks"]}
    for name in ("manifest", "placement", "parity.fp16", "parity.fp32", "top1"):
        assert checks[f"mlprogram.{name}"]["status"] == "verified", checks
    for case in ("recorded-seed0", "recorded-seed1", "source-seed11", "photo-china"):
        for precision in ("fp16", "fp32"):
            assert checks[f"mlprogram.parity.{precision}/{case}"]["status"] == "verified"
    assert checks["mlprogram.parity.fp32"]["value"] < 1e-5
    assert checks["mlprogram.parity.fp16"]["value"] > 0.9999
    predict = checks["coreml.predict"]
    assert predict["status"] == "not-verified"
    assert "macOS only" in predict["reason"]
    assert contents(bundle) == before


@pytest.mark.slow
def test_a_model_that_chooses_has_its_stages_found(cli: Any, tmp_path: Path) -> None:
    output = tmp_path / "b"
    done = cli("export", "tiny_sparse:build", *TARGET, "-o", output, "--json", "-")
    assert report_of(done)["manifest"]["discontinuous"]
    origins = json.loads((output / "origins.json").read_text()).values()
    assert {"patches", "head"} <= {origin["module"] for origin in origins}
    assert any("tiny_sparse.py" in origin["source"] for origin in origins)
    checks = by_name(report_of(cli("verify", output, "--json", "-")))
    assert checks["mlprogram.stage/patches"]["status"] == "verified"
    assert "the model chooses" in checks["mlprogram.parity.fp16"]["reason"]
    assert "keeps the best of many" in checks["mlprogram.parity.fp32"]["reason"]


def test_a_module_is_compared_with_what_was_recorded(cli: Any, tmp_path: Path) -> None:
    from tiny_net import build

    attnc.export(build(), output=tmp_path / "b", target="coreml")
    checks = by_name(report_of(cli("verify", tmp_path / "b", "--json", "-")))
    assert checks["mlprogram.parity.fp16"]["status"] == "verified"
    assert "handed over as a module" in checks["source"]["reason"]
    for name in ("source", "mlprogram.top1", "mlprogram.stages", "mlprogram.parity.fp32"):
        assert checks[name]["status"] == "not-verified"


def write_onnx(path: Path) -> None:
    """A torch network as a file, for two pictures, with names that no program may have."""
    import torch
    from tiny_net import build

    x = torch.zeros(2, 3, SIDE, SIDE)
    torch.onnx.export(build(), (x,), path, dynamo=True, verbose=False)
    model = onnx.load(path)
    inside = {model.graph.input[0].name: "x.1", model.graph.output[0].name: "y:0"}
    for value in (*model.graph.input, *model.graph.output):
        value.name = inside[value.name]
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [inside.get(name, name) for name in names]
    onnx.save(model, path)


def test_an_onnx_file(cli: Any, tmp_path: Path) -> None:
    from attnc.runtimes.coreml.evaluator import Evaluator
    from attnc.runtimes.coreml.package import open_package

    file, output = tmp_path / "net.onnx", tmp_path / "b"
    write_onnx(file)
    done = cli("export", file, *TARGET, "--batch", "2", "-o", output, "--json", "-")
    manifest = report_of(done)["manifest"]
    assert manifest["coreml"]["input"] == "tensor"
    assert manifest["inputs"][0]["name"] == "x_1"
    assert manifest["outputs"][0]["name"] == "y_0"
    checks = by_name(report_of(cli("verify", output, "--json", "-")))
    assert checks["mlprogram.parity.fp32"]["status"] == "verified"
    assert checks["photographs"]["status"] == "not-verified"
    assert "no torch module" in checks["mlprogram.stages"]["reason"]
    assert "give it to the package, in Core ML" in cli("run", output, file).err
    x = np.random.default_rng(5).standard_normal((2, 3, SIDE, SIDE)).astype(np.float16)
    (expected,) = onnxruntime.InferenceSession(file).run(None, {"x.1": x.astype(np.float32)})
    got = Evaluator(open_package(output / "model.mlpackage")).run({"x_1": x})["y_0"]
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_two_pictures_at_once_are_a_tensor(cli: Any, tmp_path: Path) -> None:
    output = tmp_path / "b"
    done = cli("export", "tiny_net:build", *TARGET, "--batch", "2", "-o", output, "--json", "-")
    manifest = report_of(done)["manifest"]
    assert (manifest["coreml"]["input"], manifest["inputs"][0]["shape"][0]) == ("tensor", 2)
    checks = by_name(report_of(cli("verify", output, "--json", "-")))
    assert checks["mlprogram.parity.fp16/photo-flower"]["status"] == "verified"
    assert cli("run", output, "a.png").err.splitlines()[-1].endswith("--batch 1")
    assert checks["mlprogram.top1"]["status"] == "verified"


def test_a_free_batch_is_one_of_a_list(cli: Any, tmp_path: Path) -> None:
    output = tmp_path / "b"
    done = cli(
        "export", "tiny_net:build", *TARGET, "--batch", "dynamic", "-o", output, "--json", "-"
    )
    manifest = report_of(done)["manifest"]
    assert (manifest["batch"], manifest["coreml"]["input"]) == ("dynamic", "tensor")
    assert "a batch of 1, 2, 4 or 8" in (output / "README.md").read_text()
    checks = by_name(report_of(cli("verify", output, "--json", "-")))
    for case in ("recorded-seed0", "source-seed11", "source-seed12", "photo-flower"):
        assert checks[f"mlprogram.parity.fp16/{case}"]["status"] == "verified"
        assert checks[f"mlprogram.parity.fp32/{case}"]["status"] == "verified"
    assert "fp16[?, 20, 12, 12]" in cli("mil", output).out
    assert cli("mil", output, "--lint").code == 0
    assert cli("explain", "tiny_net:build", "--target", "coreml", "--batch", "dynamic").code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "size"), [("shvit_s1", "64"), ("deit_tiny", "64"), ("evit_tiny_k070_fuse", "96")]
)
def test_whole_models(cli: Any, tmp_path: Path, model: str, size: str) -> None:
    output = tmp_path / "b"
    done = cli("export", model, *TARGET, "--image-size", size, "-o", output, "--json", "-")
    assert report_of(done)["manifest"]["coreml"]["input"] == "image"
    checks = by_name(report_of(cli("verify", output, "--json", "-")))
    assert checks["mlprogram.parity.fp16"]["status"] == "verified"
    assert checks["mlprogram.parity.fp32"]["status"] == "verified"
    assert sum(name.startswith("mlprogram.stage/") for name in checks) > 5
