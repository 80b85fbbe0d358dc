"""The plugin sources: the same bytes every time, launches equal to `launch_of`, code compiles."""

from __future__ import annotations

import ast
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_tensorrt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin_cases import ALL, CHOOSE, MAP, draw, load, many, network, plugin_of, write_own
from plugin_cases import SIGNATURES as KNOWN

from attnc.compiler.errors import MissingRuntimeError
from attnc.runtimes.cuda.build import find_nvcc
from attnc.runtimes.cuda.kernels import KERNELS
from attnc.runtimes.cuda.launch import CudaKernel, launch_of
from attnc.runtimes.tensorrt.sources import RENDERED, write_sources

HERE = Path(__file__).parent
MOCK = HERE / "mock"
CONFIG = HERE.parent.parent.parent / "pyproject.toml"
PYTHON = [name for name in RENDERED if name.endswith(".py")]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the kernels of `plugin_cases.py`."""
    folder = tmp_path_factory.mktemp("bundle") / "own"
    write_own(folder)
    return folder


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of all kernels there are, and of those of `plugin_cases.py`."""
    folder = tmp_path_factory.mktemp("bundle")
    write_own(folder / "own")
    sources = folder / "own_sources"
    for kernel in ALL:
        if kernel not in (MAP, CHOOSE):
            (sources / kernel.source).touch()
    write_sources(folder / "all", ALL, "bf16", network(), signatures=KNOWN, kernel_sources=sources)
    return folder / "all"


@pytest.fixture(scope="module")
def plugin(everything: Path) -> Any:
    """The Python plugins; importing them needs no TensorRT."""
    return load(everything / "plugin.py", "all_plugins")


def cuda_include() -> Path:
    """The folder of cuda.h beside nvcc; skips where there is none."""
    nvcc = shutil.which("nvcc")
    roots = [Path(nvcc).resolve().parent.parent] if nvcc else []
    roots += [Path("/usr/local/cuda")]
    for folder in (root / "include" for root in roots):
        if (folder / "cuda.h").exists() and (folder / "cuda_runtime_api.h").exists():
            return folder
    pytest.skip("the CUDA headers are not on this machine")


def compiler() -> str:
    """g++; skips where there is none."""
    found = shutil.which("g++")
    return found if found else pytest.skip("g++ is not on this machine")


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )


def test_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = write_own(tmp_path / "a"), write_own(tmp_path / "b")
    assert first == second == sorted(first)
    assert set(RENDERED) <= set(first)
    assert "kernels/shared.cuh" in first
    for name in first:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_shipped_kernels_compile_by_themselves(tmp_path: Path) -> None:
    try:
        nvcc = find_nvcc()
    except MissingRuntimeError:
        pytest.skip("no CUDA compiler here")
    written = write_sources(tmp_path / "b", KERNELS, "fp16", network())
    assert not [name for name in written if "host_shim" in name]
    shipped = sorted((tmp_path / "b" / "kernels").iterdir())
    assert [f"kernels/{path.name}" for path in shipped] == [
        name for name in written if name.startswith("kernels/")
    ]
    for path in (path for path in shipped if path.suffix == ".cu"):
        flags = ("-ptx", "-arch=compute_75", "-std=c++17", "-DATTNC_FP16")
        done = run(nvcc, *flags, path.name, "-o", path.stem + ".ptx", cwd=path.parent)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_python_files_compile(tmp_path: Path, precision: str, runtime: str) -> None:
    write_own(tmp_path / "b", precision, runtime=runtime)
    for name in PYTHON:
        ast.parse((tmp_path / "b" / name).read_text(encoding="utf-8"), name)


def test_python_files_are_formatted(bundle: Path, everything: Path) -> None:
    checked = [folder / name for folder in (bundle, everything) for name in PYTHON]
    for command in (("check",), ("format", "--check")):
        done = run(sys.executable, "-m", "ruff", *command, "--config", CONFIG, *checked)
        assert done.returncode == 0, done.stdout + done.stderr


def test_wrong_expressions_are_refused(tmp_path: Path) -> None:
    for text, reason in (
        ("in0_0 / 2", "Div"),
        ("abs(in0_0)", "the functions are"),
        ("in0_0 * 1.5", "not an integer"),
        ("elsewhere", "nothing is called 'elsewhere'"),
        ("in0_0 +", "no size expression"),
    ):
        wrong = CudaKernel("MapLike", "map_like", "map_like.cu", (), (), (text, "1", "1"), 32)
        with pytest.raises(ValueError, match=reason):
            write_sources(tmp_path, [wrong], "fp32", network(), signatures=KNOWN)


def test_unknown_precision_and_runtime_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fp8"):
        write_sources(tmp_path, [], "fp8", network())
    with pytest.raises(ValueError, match="cuda"):
        write_sources(tmp_path, [], "fp32", network(runtime="cuda"))


COUNT: dict[str, Callable[[int, int], int]] = {
    "SUM": lambda a, b: a + b,
    "SUB": lambda a, b: a - b,
    "PROD": lambda a, b: a * b,
    "MIN": min,
    "MAX": max,
    "FLOOR_DIV": lambda a, b: a // b,
    "CEIL_DIV": lambda a, b: -(-a // b),
}


class Counting:
    """TensorRT's expression builder over integers in boxes."""

    def constant(self, number: int) -> list[int]:
        return [number]

    def operation(self, name: str, first: list[int], second: list[int]) -> list[int]:
        return [COUNT[name](first[0], second[0])]


@given(st.sampled_from(ALL), st.integers(0, 2**32))
def test_python_launches(plugin: Any, kernel: CudaKernel, seed: int) -> None:
    shapes, attributes = draw(kernel, random.Random(seed))
    wanted = launch_of(kernel, shapes, attributes)
    operator = next(o for o in plugin.OPERATORS if o.name == kernel.operator)
    found = operator.launch(shapes, attributes)
    assert (found.grid, found.block) == (wanted.grid, wanted.block)
    assert (found.shared_bytes, found.scalars) == (wanted.shared_bytes, wanted.scalars)
    assert operator.outputs(shapes, attributes) == wanted.outputs
    symbols = [[plugin.Size([size], Counting()) for size in shape] for shape in shapes]
    sizes = operator.outputs(symbols, attributes)
    plain = [[s.value[0] if isinstance(s, plugin.Size) else s for s in shape] for shape in sizes]
    assert tuple(map(tuple, plain)) == wanted.outputs


def test_arguments_are_inputs_scalars_outputs(plugin: Any) -> None:
    launch = plugin.Launch((1, 1, 1), 32, 0, (7, -1))
    values = plugin.packed_arguments(launch, [16, 32], [48]).values
    assert [value.value for value in values] == [16, 32, 7, -1, 48]


def test_code_for_a_device(bundle: Path, tmp_path: Path) -> None:
    plugin = load(bundle / "plugin.py", "own_plugins")
    for name in ("k.ptx", "k.sm_87.cubin", "k.sm_110.cubin", "other.sm_80.cubin"):
        (tmp_path / name).write_bytes(name.encode())
    code = plugin.unpack_code(plugin.pack_code(plugin.read_code("k", tmp_path)))
    assert code == {"ptx": b"k.ptx", "sm_87": b"k.sm_87.cubin", "sm_110": b"k.sm_110.cubin"}
    assert plugin.chosen_code(code, 87) == b"k.sm_87.cubin"
    assert plugin.chosen_code(code, 90) == b"k.ptx"
    with pytest.raises(RuntimeError, match="sm_90"):
        plugin.chosen_code({"sm_87": b""}, 90)
    with pytest.raises(FileNotFoundError, match="nvcc"):
        plugin.read_code("missing", tmp_path)


def numbers_of(kernel: CudaKernel, attributes: dict[str, Any]) -> list[int]:
    """Attributes as mock/launches_main.cpp reads them."""
    found: list[int] = []
    for name, kind in plugin_of(kernel).signature.attributes.items():
        value = attributes[name]
        if kind == "ints":
            found += [len(value), *value]
        elif kind == "float":
            found += struct.unpack("<i", struct.pack("<f", value))
        else:
            found.append(value)
    return found


def test_cpp_launches(everything: Path, tmp_path: Path) -> None:
    cases, lines, wanted = many(60), [], []
    for kernel, shapes, attributes in cases:
        sizes = [number for shape in shapes for number in (len(shape), *shape)]
        line = [kernel.operator, *numbers_of(kernel, attributes), len(shapes), *sizes]
        lines.append(" ".join(map(str, line)))
        launch = launch_of(kernel, shapes, attributes)
        groups = [(*launch.grid, launch.block, launch.shared_bytes), launch.scalars]
        groups += launch.outputs
        wanted.append(" | ".join(" ".join(map(str, group)) for group in groups))
    names = " ".join(f"X({kernel.operator})" for kernel in ALL)
    program = tmp_path / "launches"
    flags = ("-std=c++17", "-Wall", "-Wextra", "-Werror", f"-DOPERATORS={names}")
    source = MOCK / "launches_main.cpp"
    built = run(compiler(), *flags, f"-I{everything}", source, "-o", program)
    assert built.returncode == 0, built.stderr
    assert run(program, input="\n".join(lines)).stdout.splitlines() == wanted


@pytest.mark.parametrize("name", ["plugin.cpp", "sample.cpp"])
@pytest.mark.parametrize("kernels", ["all", "none"])
def test_cpp_files_compile(everything: Path, tmp_path: Path, name: str, kernels: str) -> None:
    folder = everything
    if kernels == "none":
        folder = tmp_path
        write_sources(folder, [], "fp32", network(runtime="tensorrt", batches=None))
    flags = ["-fsyntax-only", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
    flags += ["-Wno-unused"] if kernels == "none" else []
    includes = (f"-I{MOCK}", f"-I{cuda_include()}")
    done = run(compiler(), *flags, *includes, folder / name)
    assert done.returncode == 0, done.stderr


def test_aot_plugins(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = fake_tensorrt.modules()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    load(bundle / "qdp.py", "own_qdp")
    for kernel, shapes, attributes in many(20):
        if kernel not in (MAP, CHOOSE):
            continue
        found = modules["tensorrt.plugin"].registry[f"attnc::{kernel.operator}"]
        inputs = [fake_tensorrt.TensorDesc(shape, "fp16") for shape in shapes]
        given_ = (*inputs, *attributes.values())
        outputs = found["register"](*given_)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        wanted = launch_of(kernel, shapes, attributes)
        assert tuple(tuple(output.shape) for output in outputs) == wanted.outputs
        total = len(inputs) + len(outputs)
        (tuned,) = found["autotune"](*given_, outputs)
        assert tuned.formats == ["LINEAR"] * total
        assert set(tuned.types) <= {"FP16", "INT64"}
        name, code, params, scalars = found["aot_impl"](*given_, outputs, 0)
        assert name == f"{kernel.entry}_fp16"
        assert code == f"// PTX of {kernel.entry}\n"
        assert (params.grid(), params.block_x.number) == (wanted.grid, wanted.block)
        assert params.shared_mem.number == wanted.shared_bytes
        assert all(type(scalar) is fake_tensorrt.SymInt32 for scalar in scalars)
        assert tuple(scalar.number for scalar in scalars) == wanted.scalars
