"""What a user runs in a bundle: the build script, CMake, the sample; and TensorRT-RTX builds it."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plugin_cases import CODE, write_own

from attnc.runtimes.tensorrt.environment import build_environment

HERE = Path(__file__).parent
RTX = importlib.util.find_spec("tensorrt_rtx") is not None
needs_rtx = pytest.mark.skipif(not RTX, reason="the package tensorrt-rtx is not installed")


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("batches", [None, (1, 8, 32)])
def test_build_script(tmp_path: Path, runtime: str, batches: tuple[int, int, int] | None) -> None:
    folder = tmp_path / "b"
    write_own(folder, runtime=runtime, batches=batches)
    assert run("bash", "-n", folder / "build.sh").returncode == 0
    assert os.access(folder / "build.sh", os.X_OK)
    tool, library = tmp_path / "tool", tmp_path / "plugins.so"
    tool.write_text('#!/bin/sh\necho "$@" --stronglyTyped-is-known\n', encoding="utf-8")
    tool.chmod(0o755)
    settings = {**os.environ, "TOOL": str(tool), "PLUGINS": str(library)}
    refused = run(folder / "build.sh", env=settings)
    assert refused.returncode == 1
    assert "cmake -B build" in refused.stderr
    library.touch()
    done = run(folder / "build.sh", env=settings)
    assert done.returncode == 0, done.stderr
    assert f"--onnx=model.onnx --saveEngine=model.plan --staticPlugins={library}" in done.stdout
    assert ("--maxShapes=image:32x3x224x224" in done.stdout) == (batches is not None)
    assert ("--stronglyTyped " in done.stdout) == (runtime == "tensorrt")


def test_missing_tool_is_named(tmp_path: Path) -> None:
    write_own(tmp_path / "b")
    done = run(tmp_path / "b" / "build.sh", env={**os.environ, "TOOL": "no-such-tool"})
    assert done.returncode == 1
    assert "no-such-tool is missing" in done.stderr


def fake_tools(folder: Path, *names: str) -> dict[str, str]:
    """An environment whose path begins with these tools, which note how they were called."""
    folder.mkdir()
    for name in names:
        text = f"""#!/bin/sh
echo {name} "$@" >> "{folder}/calls"
while [ $# -gt 1 ]; do [ "$1" = -o ] && echo new > "$2"; shift; done
exit ${{BROKEN:-0}}
"""
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    (folder / "plugins.so").touch()
    paths = {"PATH": f"{folder}:/usr/bin:/bin", "PLUGINS": str(folder / "plugins.so")}
    return {**paths, "CUDA_HOME": "/nowhere"}


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text(encoding="utf-8").splitlines()


JETPACK6: dict[str, Any] = {"runtime": "tensorrt", "cuda": "12.6", "architectures": ("87",)}


@pytest.mark.parametrize("old", [True, False])
def test_kernels_are_compiled_again(tmp_path: Path, old: bool) -> None:
    folder, bin_ = tmp_path / "b", tmp_path / "bin"
    changes = JETPACK6 if old else {**JETPACK6, "cuda": "13.0", "architectures": ("87", "110")}
    write_own(folder, **changes)
    settings = {**fake_tools(bin_, "nvcc", "trtexec"), "REBUILD_KERNELS": "1"}
    if old:
        del settings["REBUILD_KERNELS"]
    done = run(folder / "build.sh", env=settings)
    assert done.returncode == 0, done.stderr
    wanted = []
    for name in ("choose", "map_like"):
        for number in changes["architectures"]:
            wanted.append((f"-cubin -arch=sm_{number}", name, f"sm_{number}.cubin"))
        wanted.append(("-ptx -arch=compute_87", name, "ptx"))
    flags = "-std=c++17 -O3 -DATTNC_FP16"
    found = calls(bin_)
    assert found[: len(wanted)] == [
        f"nvcc {kind} {flags} kernels/{name}.cu -o kernels/{name}.{end}.new"
        for kind, name, end in wanted
    ]
    assert found[-1].startswith("trtexec --onnx=model.onnx")
    made = [folder / "kernels" / f"{name}.{end}" for _, name, end in wanted]
    assert [path.read_text(encoding="utf-8") for path in made] == ["new\n"] * len(made)


@pytest.mark.parametrize("cuda", ["12.6", "13.0"])
def test_kernels_stay_as_they_are(tmp_path: Path, cuda: str) -> None:
    folder, bin_ = tmp_path / "b", tmp_path / "bin"
    write_own(folder, **{**JETPACK6, "cuda": cuda})
    settings = fake_tools(bin_, "nvcc", "trtexec")
    if cuda == "12.6":
        settings["REBUILD_KERNELS"] = "0"
    assert run(folder / "build.sh", env=settings).returncode == 0
    assert not [call for call in calls(bin_) if call.startswith("nvcc")]


def test_missing_nvcc_is_explained(tmp_path: Path) -> None:
    write_own(tmp_path / "b", **JETPACK6)
    settings = {**fake_tools(tmp_path / "bin", "trtexec"), "NVCC": "no-such-nvcc"}
    done = run(tmp_path / "b" / "build.sh", env=settings)
    assert done.returncode == 1
    assert "no-such-nvcc is missing" in done.stderr
    assert "kernels/ are of CUDA 13 and this device has CUDA 12.6" in done.stderr
    assert not (tmp_path / "bin" / "calls").exists()


def test_a_kernel_that_does_not_compile_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    write_own(folder, **JETPACK6)
    settings = {**fake_tools(tmp_path / "bin", "nvcc", "trtexec"), "BROKEN": "2"}
    assert run(folder / "build.sh", env=settings).returncode == 2
    assert (folder / "kernels" / "choose.ptx").read_bytes() == CODE["choose.ptx"]
    assert len(calls(tmp_path / "bin")) == 1


def tools() -> tuple[str, str]:
    """cmake and nvcc; skips where one is missing."""
    found = shutil.which("cmake"), shutil.which("nvcc")
    if not all(found):
        pytest.skip("cmake or nvcc is not on this machine")
    return str(found[0]), str(found[1])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ plugins, built against the stand-in header for two GPUs."""
    cmake, _ = tools()
    folder = tmp_path_factory.mktemp("library") / "b"
    write_own(folder)
    header = f"-DATTNC_TENSORRT_INCLUDE={HERE / 'mock'}"
    gpus = "-DATTNC_CUDA_ARCHITECTURES=87;80"
    made = run(cmake, "-S", folder, "-B", folder / "build", header, gpus)
    assert made.returncode == 0, made.stderr
    built = run(cmake, "--build", folder / "build")
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "build" / "libattnc_plugins.so"


def test_plugin_library_loads_without_a_driver(library: Path) -> None:
    loaded = ctypes.CDLL(str(library))
    count = ctypes.c_int32()
    loaded.getCreators.restype = ctypes.c_void_p
    assert loaded.getCreators(ctypes.byref(count))
    assert count.value == 2
    assert hasattr(loaded, "setLoggerFinder")
    assert all(f"{name}_fp16".encode() in library.read_bytes() for name in ("map_like", "choose"))


def test_missing_header_is_explained(tmp_path: Path) -> None:
    cmake, _ = tools()
    write_own(tmp_path / "b")
    clean = {k: v for k, v in os.environ.items() if not k.endswith(("TENSORRT_INCLUDE", "RT_ROOT"))}
    done = run(cmake, "-S", tmp_path / "b", "-B", tmp_path / "build", env=clean)
    if done.returncode == 0:
        pytest.skip("this machine has TensorRT's headers")
    assert "libnvinfer-headers-dev" in done.stderr


def rtx_build(*arguments: object) -> subprocess.CompletedProcess[str]:
    with build_environment() as environment:
        return run(sys.executable, HERE / "rtx_build.py", *arguments, env=environment)


def expected_outputs(precision: str, batch: str) -> dict[str, Any]:
    first = -1 if batch == "dynamic" else 2
    kind = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16"}[precision]
    shapes = {"y": [first, 64, 7, 5], "d": [first, 5, 8], "e": [first, 5, 4, 3]}
    return {**{name: [shape, kind] for name, shape in shapes.items()}, "b": [[first, 3], "INT64"]}


@needs_rtx
@pytest.mark.parametrize("batch", ["static", "dynamic"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_rtx_builds_with_the_python_plugins(tmp_path: Path, precision: str, batch: str) -> None:
    folder, plan = tmp_path / "b", tmp_path / "model.plan"
    write_own(folder, precision)
    done = rtx_build(folder, precision, batch, plan)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["outputs"] == expected_outputs(precision, batch)
    assert found["attributes"] == {"keep": 3, "grid": [2, 5]}
    assert found["code"]
    data = plan.read_bytes()
    assert all(code in data for code in CODE.values())


@needs_rtx
def test_rtx_builds_with_the_plugin_library(tmp_path: Path, library: Path) -> None:
    done = rtx_build("", "fp16", "dynamic", tmp_path / "model.plan", library)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["outputs"] == expected_outputs("fp16", "dynamic")


@needs_rtx
def test_rtx_names_a_missing_kernel(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    write_own(folder)
    (folder / "kernels" / "choose.ptx").unlink()
    done = rtx_build(folder, "fp16", "static", tmp_path / "model.plan")
    assert done.returncode != 0
    assert "choose.ptx" in done.stderr


@needs_rtx
def test_rtx_names_a_wrong_type(tmp_path: Path) -> None:
    write_own(tmp_path / "b", "fp16")
    done = rtx_build(tmp_path / "b", "fp32", "static", tmp_path / "model.plan")
    assert done.returncode != 0
    assert "kernel map_like_fp16: it takes fp16, the model gives DataType.FLOAT" in done.stderr


@needs_rtx
def test_sample_says_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    write_own(folder)
    sample, plan = folder / "sample.py", folder / "model.plan"
    assert "build.sh" in run(sys.executable, sample, "x.npy").stderr
    plan.write_bytes(b"cut off")
    assert "copy or build it again" in run(sys.executable, sample, "x.npy").stderr
    (folder / "plugin.py").unlink()
    assert "plugin.py of the bundle" in run(sys.executable, sample, "x.npy").stderr
