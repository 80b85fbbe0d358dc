"""`attnc mil`: what it prints of a package and of a bundle, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnc.compiler.bundle import list_files
from attnc.compiler.manifest import Manifest, SourceInfo

ct = pytest.importorskip("coremltools")
mb = pytest.importorskip("coremltools.converters.mil").Builder

ORIGINS = {
    "mix": {"node": "conv", "module": "stages.0", "source": "net.py:3"},
    "chances": {"node": "softmax", "module": "head", "source": "net.py:9"},
}


def save_package(path: Path) -> None:
    """A convolution and a softmax in fp32."""
    weight = np.full((4, 3, 1, 1), 0.5, np.float32)
    shape = (1, 3, 4, 64)

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS16)  # type: ignore[untyped-decorator]
    def network(x: Any) -> Any:
        return mb.softmax(x=mb.conv(x=x, weight=weight, name="mix"), axis=-1, name="chances")

    model = ct.convert(
        network,
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
        inputs=[ct.ImageType(name="x", shape=shape, color_layout=ct.colorlayout.RGB)],
    )
    model.save(str(path))


def seal(folder: Path, target: str = "coreml") -> None:
    """Writes the manifest of a bundle that holds what is in the folder."""
    manifest = Manifest(
        model="toy",
        target=target,
        profile="native",
        batch=1,
        opset=20,
        ir_version=10,
        inputs=(),
        outputs=(),
        preprocessing=None,
        source=SourceInfo(kind="module", name="toy"),
        passes=(),
        operators={},
        not_lowered=(),
        kernels=(),
        reference=(),
        built_with={},
        files=list_files(folder),
    )
    (folder / "manifest.json").write_text(manifest.sealed().to_json(), "utf-8")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "toy"
    folder.mkdir()
    save_package(folder / "model.mlpackage")
    (folder / "origins.json").write_text(json.dumps(ORIGINS), "utf-8")
    seal(folder)
    return folder


@pytest.fixture
def package(bundle: Path) -> Path:
    return bundle / "model.mlpackage"


def test_listing_of_a_bundle(cli: Any, bundle: Path) -> None:
    done = cli("mil", bundle)
    assert done.code == 0, done.err
    assert done.out.index("-- stages.0") < done.out.index("= conv(") < done.out.index("-- head")
    assert "# net.py:9" in done.out


def test_listing_of_a_foreign_package(cli: Any, package: Path) -> None:
    done = cli("mil", package)
    assert done.code == 0, done.err
    assert "= softmax(" in done.out
    assert "--" not in done.out


def test_filters(cli: Any, bundle: Path) -> None:
    only = json.loads(cli("mil", bundle, "--operation", "soft", "--json", "-").out)
    assert [line["kind"] for line in only["operations"]] == ["softmax"]
    only = json.loads(cli("mil", bundle, "--module", "stages", "--json", "-").out)
    assert [line["kind"] for line in only["operations"]] == ["conv"]
    assert only["operations"][0]["source"] == "net.py:3"


def test_summary(cli: Any, bundle: Path) -> None:
    done = cli("mil", bundle, "--summary")
    assert done.code == 0, done.err
    for text in ("iOS 16", "x image RGB", "softmax", "MB fp32"):
        assert text in done.out
    document = json.loads(cli("mil", bundle, "--summary", "--json", "-").out)
    assert set(document) == {"path", "summary"}
    assert document["summary"]["operations"]["conv"] == 1


def test_lint(cli: Any, bundle: Path) -> None:
    done = cli("mil", bundle, "--lint")
    assert done.code == 0, done.err
    assert "softmax-other-axis" in done.out
    assert "head" in done.out
    document = json.loads(cli("mil", bundle, "--lint", "--json", "-").out)
    assert document["counts"]["softmax-other-axis"] == 1
    found = {each["rule"]: each for each in document["findings"]}["softmax-other-axis"]
    assert (found["module"], found["source"]) == ("head", "net.py:9")
    conv = json.loads(cli("mil", bundle, "--lint", "--operation", "conv", "--json", "-").out)
    assert "softmax-other-axis" not in conv["counts"]


def test_everything_to_a_file(cli: Any, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    done = cli("mil", bundle, "--lint", "--summary", "--json", file)
    assert done.code == 0, done.err
    assert set(json.loads(file.read_text())) == {"path", "summary", "counts", "findings"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--operation", "nothing"], ["no operation matches 'nothing'"]),
        (["--module", "stage"], ["no operation matches 'stage'"]),
        (["--operation", "conv", "--module", "head"], ["'conv' and 'head'"]),
    ],
)
def test_nothing_matches(cli: Any, bundle: Path, options: list[str], said: list[str]) -> None:
    refuses(cli("mil", bundle, *options), 2, *said)


def test_modules_of_a_foreign_package(cli: Any, package: Path) -> None:
    refuses(cli("mil", package, "--module", "head"), 2, "does not say of what module", "bundle")


def test_bad_paths(cli: Any, tmp_path: Path) -> None:
    refuses(cli("mil", tmp_path / "nowhere"), 2, "neither a Core ML bundle nor", "nowhere")
    refuses(cli("mil", tmp_path / "nowhere.mlpackage"), 2, "does not exist")
    (tmp_path / "file.mlpackage").write_text("x")
    refuses(cli("mil", tmp_path / "file.mlpackage"), 2, "it is no folder")
    (tmp_path / "file").write_text("x")
    refuses(cli("mil", tmp_path / "file"), 2, "neither a Core ML bundle nor")


def test_a_bundle_for_another_target(cli: Any, tmp_path: Path) -> None:
    seal(tmp_path, "cpu")
    refuses(cli("mil", tmp_path), 2, "for target cpu", "--target coreml")


def test_a_bundle_that_was_edited(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "origins.json").write_text("{}")
    seal(tmp_path)
    (tmp_path / "origins.json").write_text("[]")
    refuses(cli("mil", tmp_path), 2, "origins.json", "hash differs")


def test_a_bundle_without_origins(cli: Any, tmp_path: Path) -> None:
    save_package(tmp_path / "model.mlpackage")
    seal(tmp_path)
    refuses(cli("mil", tmp_path), 2, "origins", "export the bundle again")


def test_without_coremltools(cli: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in list(sys.modules):
        if name.split(".")[0] == "coremltools":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    refuses(cli("mil", bundle), 4, "pip install 'attnc[coreml]'")


def refuses(done: Any, code: int, *said: str) -> None:
    """One message, nothing on stdout."""
    assert done.code == code, (done.code, done.err)
    assert done.out == ""
    assert sum(line.startswith("error:") for line in done.err.splitlines()) == 1, done.err
    for text in said:
        assert text in done.err, done.err
