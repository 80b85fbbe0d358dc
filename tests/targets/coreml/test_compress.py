"""Compressed weights: smaller files, the same bytes twice, results close to the whole weights'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("coremltools")

from coreml_graphs import WINDOW, Graph, cosine, lowered
from rewriting import compute

from attnc.compiler.errors import MissingRuntimeError, UnsupportedError
from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.package import Package, open_package
from attnc.targets.coreml.compress import COMPRESSIONS, check_compression
from attnc.targets.coreml.package import Features, convert, save

WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")
X = np.random.default_rng(8).standard_normal((1, 16, 8, 8)).astype(np.float32)
#: The largest share of the float16 file, the least cosine, and how weights are stored.
WANTED = {
    "int8w": (0.55, 0.9995, "constexpr_affine_dequantize"),
    "pal8w": (0.60, 0.9995, "constexpr_lut_to_dense"),
    "pal6w": (0.45, 0.998, "constexpr_lut_to_dense"),
    "pal4w": (0.30, 0.98, "constexpr_lut_to_dense"),
}


def network() -> ir.Model:
    """A convolution, a layer on tokens, and a small one that stays as it is."""
    graph = Graph()
    x = graph.fused_conv(graph.input(*X.shape), 64, **WINDOW)
    x = graph.linear(graph.tokens(x), 64, min=0.0, max=6.0)
    return graph.model(graph.linear(x, 3))


def saved(folder: Path, precision: str, ios: int = 17) -> Path:
    folder.mkdir()
    program = lowered(network(), ios, half=True).program
    return save(convert(program, ios, Features(), precision), folder)


def kinds(package: Package) -> list[str]:
    return [operation.type for operation in package.program.functions["main"].block.walk()]


def test_every_compression_is_tested() -> None:
    assert set(WANTED) == set(COMPRESSIONS)


@pytest.mark.parametrize("precision", WANTED)
def test_smaller_files_and_close_results(precision: str, tmp_path: Path) -> None:
    share, least, kind = WANTED[precision]
    whole, small = (saved(tmp_path / name, name) for name in ("fp16", precision))
    sizes = [(path / WEIGHTS).stat().st_size for path in (whole, small)]
    assert sizes[1] < share * sizes[0]
    package = open_package(small)
    assert kinds(package).count(kind) == 2
    (found,) = Evaluator(package).run({"x": X.astype(np.float16)}).values()
    (want,) = compute(network(), {"x": X})
    assert found.shape == want.shape
    assert cosine(found, want) > least


@pytest.mark.parametrize("precision", WANTED)
def test_same_bytes_twice(precision: str, tmp_path: Path) -> None:
    first, second = (saved(tmp_path / name, precision) for name in ("a", "b"))
    files = [file.relative_to(first) for file in sorted(first.rglob("*")) if file.is_file()]
    assert len(files) == 3
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


@pytest.mark.parametrize("precision", WANTED)
@pytest.mark.parametrize("ios", [16, 18])
def test_other_ios_versions(precision: str, ios: int, tmp_path: Path) -> None:
    package = open_package(saved(tmp_path / "made", precision, ios))
    (found,) = Evaluator(package).run({"x": X.astype(np.float16)}).values()
    assert cosine(found, compute(network(), {"x": X})[0]) > WANTED[precision][1]
    assert "conv" in kinds(package)


@pytest.mark.parametrize("precision", WANTED)
def test_a_mask_with_infinities_stays_whole(precision: str, tmp_path: Path) -> None:
    graph = Graph()
    mask = np.where(np.tri(64) > 0, 0.0, -np.inf).astype(np.float32)[None, None]
    x = graph.shaped("Add", (1, 2, 64, 64), graph.input(1, 2, 64, 64), graph.const(mask))
    model = graph.model(graph.shaped("Softmax", (1, 2, 64, 64), x, axis=-1))
    made = convert(lowered(model, 17, half=True).program, 17, Features(), precision)
    package = open_package(save(made, tmp_path))
    array = np.random.default_rng(8).standard_normal((1, 2, 64, 64)).astype(np.float16)
    (found,) = Evaluator(package).run({"x": array}).values()
    assert np.isfinite(found).all()
    assert (found[..., np.tri(64) == 0] == 0).all()


@pytest.mark.parametrize("precision", WANTED)
def test_an_ios_without_compressed_weights_is_refused(precision: str) -> None:
    with pytest.raises(UnsupportedError, match="iOS 15 has no compressed weights"):
        check_compression(precision, 15)


def test_palettes_need_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingRuntimeError, match="scikit-learn"):
        check_compression("pal6w", 17)
    check_compression("int8w", 17)


@pytest.mark.parametrize("precision", WANTED)
def test_nothing_but_the_weights_changes(precision: str, tmp_path: Path) -> None:
    whole, small = (
        kinds(open_package(saved(tmp_path / name, name))) for name in ("fp16", precision)
    )
    assert [kind for kind in small if not kind.startswith("const")] == [
        kind for kind in whole if not kind.startswith("const")
    ]
