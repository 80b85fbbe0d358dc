"""The files that run a web bundle: the engine in its builds, and the modules that load it."""

from __future__ import annotations

from pathlib import Path

from attnc.compiler.errors import MissingRuntimeError

HERE = Path(__file__).resolve().parent
#: Plain SIMD is everywhere; relaxed SIMD has a multiply-add; threads need a shared memory.
ENGINES = tuple(
    f"engine-{simd}{threads}.wasm" for simd in ("simd", "relaxed") for threads in ("", "-threads")
)


def engine_files() -> list[Path]:
    """Engine and modules, as they go into a bundle. Raises MissingRuntimeError if not built."""
    engines = [HERE / "lib" / name for name in ENGINES]
    for path in engines:
        if not path.is_file():
            raise MissingRuntimeError(
                f"the web engine is not built: {path.name} is missing",
                remedy="python -m attnc.runtimes.web.build",
            )
    return [*engines, *sorted((HERE / "js").glob("*.js"))]
