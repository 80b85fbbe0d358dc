"""The web engine on this machine, by wasmtime: the same WebAssembly as in a browser, one thread."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnc.compiler.errors import AttncError, MissingRuntimeError, UsageError

Array = NDArray[Any]
PAGE = 65536
#: Words of the program's header that say where a tensor's record is.
HEADER_WORDS, TENSOR_WORDS = 16, 12
TYPES = (np.float32, np.int64, np.int32, np.bool_)


def import_wasmtime() -> Any:
    """The module. Raises MissingRuntimeError if it is not installed."""
    try:
        import wasmtime
    except ImportError as error:
        raise MissingRuntimeError(
            "wasmtime is not installed, which runs the web engine here",
            remedy="pip install 'attnc[web]'",
        ) from error
    return wasmtime


class WasmModule:
    """An instance of a single-threaded build of the engine, with its memory."""

    def __init__(self, path: Path) -> None:
        wasmtime = import_wasmtime()
        if not path.is_file():
            raise UsageError(f"no engine at {path}", remedy="export the bundle again")
        self.store = wasmtime.Store(wasmtime.Engine())
        module = wasmtime.Module(self.store.engine, path.read_bytes())
        limits = wasmtime.Limits(64, 65536)
        self.memory = wasmtime.Memory(self.store, wasmtime.MemoryType(limits))
        instance = wasmtime.Instance(self.store, module, [self.memory])
        self.exports = instance.exports(self.store)

    def call(self, name: str, *arguments: int) -> int:
        """The result of an exported function."""
        result = self.exports[name](self.store, *arguments)
        return 0 if result is None else int(result) & 0xFFFFFFFF

    def text(self, address: int) -> str:
        """A text in memory; empty at address 0."""
        if not address:
            return ""
        end = address
        data = self.memory.read(self.store, address, min(self._size(), address + 1024))
        end = data.find(b"\0")
        return bytes(data[:end]).decode(errors="replace")

    def reserve(self, end: int) -> None:
        """Let the memory reach to this address."""
        missing = end - self._size()
        try:
            if missing > 0:
                self.memory.grow(self.store, -(-missing // PAGE))
        except import_wasmtime().WasmtimeError as error:
            raise AttncError(
                f"the program needs {end / 2**20:.0f} MB, which WebAssembly cannot give",
                remedy="export it for smaller images or a smaller batch",
            ) from error

    def write(self, address: int, data: bytes) -> None:
        """Put bytes at an address."""
        self.memory.write(self.store, data, address)

    def read(self, address: int, count: int) -> bytes:
        """Bytes from an address."""
        return bytes(self.memory.read(self.store, address, address + count))

    def fill(self, address: int, count: int, value: int) -> None:
        """Set bytes to one value."""
        pointer = ctypes.addressof(self.memory.data_ptr(self.store).contents)
        ctypes.memset(pointer + address, value, count)

    def operators(self) -> list[str]:
        """The names of all operators that the engine knows."""
        names, index = [], 0
        while name := self.text(self.call("attnc_operator", index)):
            names.append(name)
            index += 1
        return names

    @property
    def heap(self) -> int:
        """The first address that the module itself does not use."""
        return int(self.exports["__heap_base"].value(self.store))

    def _size(self) -> int:
        return int(self.memory.data_len(self.store))


class LoadedProgram:
    """A program in the engine. Raises AttncError with the engine's words if it refuses it."""

    def __init__(self, module: WasmModule, program: bytes, weights: bytes) -> None:
        self.module = module
        if len(program) < HEADER_WORDS * 4:
            raise AttncError("this is not a program that the engine reads: it is too short")
        self.words = np.frombuffer(program[: len(program) // 4 * 4], "<u4")
        if int(self.words[10]) > len(weights):
            raise AttncError(
                f"the weights have {len(weights)} bytes, not {int(self.words[10])}",
                remedy="export the bundle again",
            )
        arena, in_memory = (int(self.words[place]) for place in (8, 9))
        self.arena_bytes = arena
        places = [_aligned(module.heap)]
        for size in (len(program), in_memory, arena):
            places.append(_aligned(places[-1] + size))
        at_program, at_weights, self.arena, end = places
        module.reserve(end + _aligned(len(weights)) + PAGE)
        module.write(at_program, program)
        module.write(end, weights)
        scratch = _aligned(end + len(weights))
        self._check(module.call("attnc_load", at_program, end, at_weights, self.arena, scratch))
        self.poison()

    def poison(self) -> None:
        """Fill intermediate results with NaN: what was not written is then seen."""
        self.module.fill(self.arena, self.arena_bytes, 0xFF)

    def run(self) -> None:
        """Run all steps."""
        self._check(self.module.call("attnc_run"))

    def run_step(self, index: int) -> None:
        """Run one step, those before it having run."""
        self._check(self.module.call("attnc_run_step", index))

    def put(self, tensor: int, array: Array) -> None:
        """Give a tensor its elements."""
        dtype, dims = self.kind(tensor)
        if array.shape != dims or array.dtype != dtype:
            raise UsageError(
                f"an input has shape {list(array.shape)} and type {array.dtype}",
                remedy=f"give {np.dtype(dtype).name} {list(dims)}",
            )
        self.module.write(self._address(tensor), np.ascontiguousarray(array).tobytes())

    def get(self, tensor: int) -> Array:
        """A tensor's elements."""
        dtype, dims = self.kind(tensor)
        count = int(np.prod(dims, dtype=np.int64)) * np.dtype(dtype).itemsize
        data = self.module.read(self._address(tensor), count)
        return np.frombuffer(data, dtype).reshape(dims).copy()

    def kind(self, tensor: int) -> tuple[type[np.generic], tuple[int, ...]]:
        """Element type and sizes of a tensor."""
        at = HEADER_WORDS + tensor * TENSOR_WORDS
        record = self.words[at : at + TENSOR_WORDS]
        return TYPES[int(record[1])], tuple(int(size) for size in record[4 : 4 + int(record[3])])

    def _address(self, tensor: int) -> int:
        return self.module.call("attnc_tensor", tensor)

    def _check(self, status: int) -> None:
        if status:
            said = self.module.text(self.module.call("attnc_error"))
            raise AttncError(f"the web engine stopped: {said}")


class WasmEngine:
    """A bundle's folder `web/` in the engine; `simd` is "relaxed" or "simd".

    Raises MissingRuntimeError without wasmtime, UsageError for a folder that is not one.
    """

    def __init__(self, folder: Path, simd: str = "relaxed") -> None:
        try:
            self.plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
            program = (folder / self.plan["program"]).read_bytes()
            weights = (folder / self.plan["weights"]).read_bytes()
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"cannot read the program: {error}", where=str(folder), remedy="export it again"
            ) from error
        self.program = LoadedProgram(WasmModule(folder / f"engine-{simd}.wasm"), program, weights)

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for arrays by input name; UsageError if one does not fit."""
        for port in self.plan["inputs"]:
            if port["name"] not in feed:
                raise UsageError(f"input {port['name']!r} is missing")
            self.program.put(port["tensor"], feed[port["name"]])
        self.program.run()
        return {port["name"]: self.program.get(port["tensor"]) for port in self.plan["outputs"]}

    def views(self) -> dict[str, Array]:
        """What the last run kept for a page, by name."""
        return {port["name"]: self.program.get(port["tensor"]) for port in self.plan["views"]}


def _aligned(count: int) -> int:
    return -(-count // 64) * 64
