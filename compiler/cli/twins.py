"""A sparse model and its dense twin over a grid of keep rates, picture sizes and batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.errors import UnsupportedError
from attnc.compiler.progress import Progress

if TYPE_CHECKING:
    from attnc.runtimes.crossover import Cell, Compiled

PATCH = 16
#: Keep rates and picture sizes if none are asked for.
KEEPS = {"evit": (0.9, 0.8, 0.7, 0.6, 0.5), "sparsifiner": (0.75, 0.5, 0.25, 0.1)}
QUICK_KEEPS = {"evit": (0.7, 0.5), "sparsifiner": (0.5, 0.25)}
SIZES, BATCHES = (160, 224, 320), (1, 8)
BUDGET, QUICK_BUDGET = 60.0, 10.0  # seconds of samples per size and batch


@dataclass(frozen=True)
class Grid:
    """What is to be timed: every combination of size and batch, all keep rates in each."""

    model: str
    family: str
    keeps: tuple[float, ...]
    sizes: tuple[int, ...]
    batches: tuple[int, ...]
    quick: bool

    @property
    def dense_name(self) -> str:
        """The twin's name, for people."""
        return "deit_small" if self.family == "sparsifiner" else f"{self.model} with keep rate 1"

    def run(self, folder: Path, threads: int, progress: Progress) -> list[Cell]:
        """Compile into `folder` and time; what one size and batch took is removed after it."""
        import shutil

        from attnc.runtimes.crossover import time_cells
        from attnc.runtimes.measure import Effort

        effort = Effort(1, 3, 2, 1) if self.quick else Effort(2, 5, 3)
        cells = []
        for size, batch in ((size, batch) for size in self.sizes for batch in self.batches):
            place = folder / f"{size}-{batch}"
            dense = self._compile(self._dense(size), size, batch, place / "dense", progress)
            sparse = [
                (keep, self._compile(options, size, batch, place / f"{keep}", progress))
                for keep, options in self._sparse(size)
            ]
            progress.stage(f"timing {size}x{size}, batch {batch}", effort.sittings * effort.rounds)
            cells += time_cells(
                dense,
                sparse,
                tokens=(size // PATCH) ** 2,
                threads=threads,
                effort=effort,
                budget=QUICK_BUDGET if self.quick else BUDGET,
                progress=progress,
            )
            shutil.rmtree(place)
        return cells

    def _dense(self, size: int) -> tuple[str, dict[str, Any]]:
        if self.family == "sparsifiner":
            return "deit_small", {}
        return self.model, {"keep_rate": 1.0}

    def _sparse(self, size: int) -> Iterator[tuple[float, tuple[str, dict[str, Any]]]]:
        for keep in self.keeps:
            if self.family == "sparsifiner":
                yield keep, (self.model, {"attn_keep_rate": keep, "image_size": size})
            else:
                yield keep, (self.model, {"keep_rate": keep})

    @staticmethod
    def _compile(
        source: tuple[str, dict[str, Any]], size: int, batch: int, folder: Path, progress: Progress
    ) -> Compiled:
        from attnc.compiler.cli.api import compile_folder
        from attnc.compiler.ops.flops import graph_flops
        from attnc.runtimes.crossover import Compiled

        name, options = source
        said = "".join(f", {key} {value}" for key, value in options.items())
        progress.stage(f"compiling {name} ({size}x{size}, batch {batch}{said})")
        counted: list[int] = []
        folder.mkdir(parents=True)
        compile_folder(
            name,
            folder,
            image_size=size,
            batch=batch,
            options=options,
            look=lambda graph: counted.append(graph_flops(graph)),
        )
        return Compiled(folder, counted[0], (batch, 3, size, size))


def grid_of(
    model: str,
    *,
    keeps: tuple[float, ...] | None,
    sizes: tuple[int, ...] | None,
    batches: tuple[int, ...] | None,
    quick: bool,
) -> Grid:
    """The grid of a listed model; what is None is the family's, or small if `quick`.

    Raises UnsupportedError if the model has no dense twin, UsageError if it is not listed or
    cannot take a size.
    """
    from attnc.compiler.trace.network import translate
    from attnc.model_defs.registry import ModelError, check_image_size, model_config

    try:
        config = model_config(model)
        own = config.image_size[0]
        chosen = sizes or ((own,) if quick else tuple(sorted({*SIZES, own})))
        for size in chosen:
            check_image_size(model, (size, size))
    except ModelError as error:
        raise translate(error) from error
    if config.family not in KEEPS or "lvvit" in model:
        raise UnsupportedError(
            f"{model} has no dense twin to compare it with",
            where=model,
            remedy="an EViT, or a Sparsifiner on DeiT-S: `attnc list models`",
        )
    default_keeps = QUICK_KEEPS if quick else KEEPS
    return Grid(
        model,
        config.family,
        keeps or default_keeps[config.family],
        chosen,
        batches or ((1,) if quick else BATCHES),
        quick,
    )
