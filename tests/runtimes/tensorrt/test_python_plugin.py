"""The Python plugin without a GPU: the formats it takes, what it asks of the driver, its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_cuda import Library, described, runtime
from fake_tensorrt import TensorFormat
from plugin_cases import load, write_own

from attnc.runtimes.cuda.launch import launch_of

MAP_ATTRIBUTES = {"dim_qk": 16, "dim_v": 32, "scale": 0.25}


@pytest.fixture
def module(tmp_path: Path) -> Any:
    write_own(tmp_path / "b")
    return load(tmp_path / "b" / "plugin.py", "own_python_plugins")


def node(module: Any, operator: str, attributes: dict[str, Any], name: str = "tensorrt") -> Any:
    found = next(o for o in module.OPERATORS if o.name == operator)
    return module.plugin_class(runtime(name))(found, attributes, {"ptx": b"code"})


def connect(module: Any, library: Library) -> None:
    """Let the module's driver be this library."""
    driver = object.__new__(module.Driver)
    driver.library, driver.modules = library, {}
    module._DRIVER[:] = [driver]


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_one_format_for_maps(module: Any, name: str) -> None:
    plugin = node(module, "MapLike", MAP_ATTRIBUTES, name)
    for format_ in TensorFormat:
        asked = [described("fp16", (1, 44, 7, 7), format_)]
        wanted = format_ is TensorFormat.LINEAR
        assert plugin.supports_format_combination(0, asked, 2) == wanted


def test_one_type_for_all(module: Any) -> None:
    plugin = node(module, "Choose", {"keep": 1, "grid": [1, 1]})

    def accepts(position: int, type_: str) -> bool:
        asked = [described(type_, (1, 4, 8), TensorFormat.LINEAR)] * 5
        return bool(plugin.supports_format_combination(position, asked, 2))

    for position in (0, 2, 4):
        assert [accepts(position, t) for t in ("fp16", "fp32", "bf16")] == [True, False, False]
    for position in (1, 3):
        assert [accepts(position, t) for t in ("int64", "fp16")] == [True, False]
    assert plugin.get_output_data_types(["fp16", "int64"]) == ["fp16", "int64", "fp16"]


def test_another_type_than_the_kernels_is_named(
    module: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = node(module, "MapLike", MAP_ATTRIBUTES)
    with pytest.raises(TypeError, match="MapLike: it takes fp16, the model gives fp32"):
        plugin.get_output_data_types(["fp16", "fp32"])
    assert "kernel map_like_fp16: it takes fp16" in capsys.readouterr().err


def enqueue(plugin: Any, shapes: list[tuple[int, ...]]) -> int:
    inputs = [described("fp16", shape, TensorFormat.LINEAR) for shape in shapes]
    return int(plugin.enqueue(inputs, [], [16, 32], [48], 0, 5))


def test_launches_through_the_driver(module: Any) -> None:
    from plugin_cases import MAP

    library = Library()
    connect(module, library)
    plugin = node(module, "MapLike", MAP_ATTRIBUTES)
    shapes = [(2, 64, 7, 9), (2, 128, 7, 9)]
    assert enqueue(plugin, shapes) == 0
    assert enqueue(plugin.clone(), shapes) == 0
    wanted = launch_of(MAP, shapes, MAP_ATTRIBUTES)
    assert library.launched() == (*wanted.grid, wanted.block, 1, 1, wanted.shared_bytes)
    assert library.names().count("cuModuleLoadData") == 1
    assert "cuFuncSetAttribute" not in library.names()
    names = [a[2] for name, a in library.calls if name == "cuModuleGetFunction"]
    assert names == [b"map_like_fp16"] * 2


def test_much_shared_memory_is_asked_for(module: Any) -> None:
    library = Library()
    connect(module, library)
    assert (
        enqueue(node(module, "MapLike", {**MAP_ATTRIBUTES, "dim_v": 400}), [(1, 8, 8, 8)] * 2) == 0
    )
    asked = next(a for name, a in library.calls if name == "cuFuncSetAttribute")
    assert asked[1:] == (8, 4 * (32 * 16 + 2 * 32 * 400))


@pytest.mark.parametrize("broken", ["cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel"])
def test_errors_name_kernel_and_cause(
    module: Any, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    connect(module, Library(broken))
    assert enqueue(node(module, "MapLike", MAP_ATTRIBUTES), [(1, 8, 4, 4)] * 2) != 0
    said = capsys.readouterr().err
    assert said.startswith(f"attnc: MapLike: kernel map_like_fp16: {broken}: ")
    assert "CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure" in said


def test_missing_attribute_is_named(module: Any) -> None:
    operator = next(o for o in module.OPERATORS if o.name == "Choose")
    with pytest.raises(ValueError, match="lacks grid, keep"):
        module.read_fields(operator, [])
