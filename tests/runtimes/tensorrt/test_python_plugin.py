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


@pytest.mark.parametrize(
    ("name", "type_", "channels", "wanted"),
    [
        ("tensorrt", "fp32", 48, TensorFormat.HWC),
        ("tensorrt", "fp16", 48, TensorFormat.HWC8),
        ("tensorrt", "fp16", 44, None),
        ("tensorrt_rtx", "fp16", 44, TensorFormat.HWC),
    ],
)
def test_one_format_for_maps(
    module: Any, name: str, type_: str, channels: int, wanted: TensorFormat | None
) -> None:
    plugin = node(module, "MapLike", MAP_ATTRIBUTES, name)
    for format_ in TensorFormat:
        asked = [described(type_, (1, channels, 7, 7), format_)]
        assert plugin.supports_format_combination(0, asked, 2) == (format_ is wanted)


def test_channels_that_would_be_padded_are_named(
    module: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = node(module, "MapLike", MAP_ATTRIBUTES)
    maps = [described("fp16", (1, 100, 7, 7), TensorFormat.HWC8)]
    assert not plugin.supports_format_combination(0, maps, 2)
    assert "tensor 0 has 100 channels" in capsys.readouterr().err


def test_types_follow_the_first_input(module: Any) -> None:
    plugin = node(module, "Choose", {"keep": 1, "grid": [1, 1]})

    def accepts(position: int, *types: str) -> bool:
        asked = [described(type_, (1, 4, 8), TensorFormat.LINEAR) for type_ in types]
        return bool(plugin.supports_format_combination(position, asked, 2))

    assert accepts(0, "fp16")
    assert accepts(0, "fp32")
    assert not accepts(0, "bf16")  # not a type of this engine
    assert accepts(1, "fp16", "int64")
    assert not accepts(1, "fp16", "fp16")
    assert accepts(2, "fp16", "int64", "fp16")
    assert not accepts(2, "fp16", "int64", "fp32")
    assert plugin.get_output_data_types(["fp16", "int64"]) == ["fp16", "int64", "fp16"]


def enqueue(plugin: Any, shapes: list[tuple[int, ...]]) -> int:
    inputs = [described("fp16", shape, TensorFormat.HWC8) for shape in shapes]
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
