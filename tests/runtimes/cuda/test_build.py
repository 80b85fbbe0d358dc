"""The CUDA kernels under nvcc: what comes out has the entries that the launches name."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from attnc.compiler.errors import MissingRuntimeError, UsageError
from attnc.runtimes.cuda import build
from attnc.runtimes.cuda.kernels import KERNELS, kernel_of
from attnc.runtimes.cuda.launch import PRECISIONS

NAMES = [kernel.operator for kernel in KERNELS]


def has_nvcc() -> bool:
    try:
        build.find_nvcc()
    except MissingRuntimeError:
        return False
    return True


needs_nvcc = pytest.mark.skipif(not has_nvcc(), reason="no CUDA compiler here")


@needs_nvcc
def test_ptx_has_every_entry_of_the_family(tmp_path: Path) -> None:
    (path,) = build.compile_ptx(tmp_path, ["SlotCluster", "SlotDispatch"])
    assert path == tmp_path / "slots.ptx"
    text = path.read_text()
    assert ".target sm_75" in text
    for name in ("SlotCluster", "SlotDispatch", "SlotDispatchAdd"):
        kernel = kernel_of(name)
        assert kernel is not None
        for precision in PRECISIONS:
            assert f".visible .entry {kernel.entry}_{precision}(" in text


@needs_nvcc
def test_the_same_sources_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number in (1, 2):
        monkeypatch.setenv("ATTNC_CACHE", str(tmp_path / f"cache{number}"))
        (path,) = build.compile_cubins(tmp_path / str(number), ["MapAttention"], ["sm_89"])
        assert path.name == "map_attention.sm_89.cubin"
        found.append(path.read_bytes())
    assert found[0] == found[1]


@needs_nvcc
def test_only_the_wanted_precisions_are_compiled(tmp_path: Path) -> None:
    (whole,) = build.compile_ptx(tmp_path / "all", ["MapAttention"])
    (half,) = build.compile_ptx(tmp_path / "half", ["MapAttention"], precisions=("fp16",))
    text = half.read_text()
    assert ".visible .entry map_attention_fp16(" in text
    assert text.count(".visible .entry") == 1
    assert half.stat().st_size < whole.stat().st_size / 2
    order = [
        build.compile_ptx(tmp_path / name, ["MapAttention"], precisions=wanted)[0].read_bytes()
        for name, wanted in (("a", ("bf16", "fp16")), ("b", ("fp16", "bf16")))
    ]
    assert order[0] == order[1]


@pytest.mark.parametrize("precisions", [(), ("fp8",), ("fp16", "int8")])
def test_unknown_precisions_are_refused(tmp_path: Path, precisions: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="some of: fp32, fp16, bf16"):
        build.compile_cubins(tmp_path, ["MapAttention"], ["sm_89"], precisions)


def static_bytes(cubin: bytes) -> dict[str, int]:
    """The static shared memory of each entry: sections of an ELF file that have its name."""
    (headers,) = struct.unpack_from("<Q", cubin, 40)
    count, names = struct.unpack_from("<HH", cubin, 60)
    sections = [struct.unpack_from("<IIQQQQ", cubin, headers + 64 * i) for i in range(count)]
    found = {}
    for name, _, _, _, _, size in sections:
        start = sections[names][4] + name
        text = cubin[start : cubin.index(b"\0", start)].decode()
        if text.startswith(".nv.shared."):
            found[text.removeprefix(".nv.shared.")] = size
    return found


@needs_nvcc
def test_the_static_shared_memory_is_what_the_compiler_says(tmp_path: Path) -> None:
    found: dict[str, int] = {}
    for path in build.compile_cubins(tmp_path, NAMES, ["sm_89"], ["fp16"]):
        found |= static_bytes(path.read_bytes())
    for kernel in KERNELS:
        assert (kernel.entry, found.get(f"{kernel.entry}_fp16", 0)) == (
            kernel.entry,
            kernel.static_bytes,
        )


@needs_nvcc
def test_an_unknown_architecture_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingRuntimeError, match=r"cannot compile map_attention\.cu for sm_1"):
        build.compile_cubins(tmp_path, ["MapAttention"], ["sm_1"])


def test_without_nvcc_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNC_NVCC", "/nowhere/nvcc")
    with pytest.raises(MissingRuntimeError, match="pip install nvidia-cuda-nvcc"):
        build.find_nvcc()


def test_an_operator_without_a_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="FusedConv has no CUDA kernel"):
        build.compile_ptx(tmp_path, ["FusedConv"])


@pytest.mark.slow
@needs_nvcc
def test_every_family_compiles_for_every_architecture(tmp_path: Path) -> None:
    made = build.compile_cubins(tmp_path, NAMES, build.ARCHS)
    families = {kernel.source for kernel in KERNELS}
    assert len(made) == len(families) * len(build.ARCHS)
    entries = {f"{k.entry}_{precision}" for k in KERNELS for precision in PRECISIONS}
    text = "".join(path.read_text() for path in build.compile_ptx(tmp_path, NAMES))
    assert all(f".visible .entry {entry}(" in text for entry in entries)
