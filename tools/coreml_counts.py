"""What one model's Core ML program is made of: attnc's, or plain coremltools.convert's.

python -m attnc.tools.coreml_counts coremltools shvit_s1 --ios 16 --into counts.json
A process of its own per program: conversions take gigabytes, and some crash.
"""

from __future__ import annotations

import gc
import json
import re
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnc.compiler.coremltools import import_coremltools
from attnc.compiler.errors import AttncError, UnsupportedError, UsageError
from attnc.compiler.trace.quiet import quiet

if TYPE_CHECKING:
    from attnc.compiler.trace.network import Network
    from attnc.runtimes.coreml.program import Function

PRECISIONS = ("fp16", "fp32")
REARRANGING = ("transpose", "reshape", "squeeze", "expand_dims")
GATHERS = ("gather", "gather_along_axis", "gather_nd")
_LONGEST = 160


@dataclass(frozen=True)
class Counts:
    """Operations of a program but its constants; `rank` is the largest of any tensor.

    `rearranged` counts `REARRANGING`, `wide` the float32 results of others than casts.
    """

    operations: int
    rearranged: int
    gathers: int
    casts: int
    wide: int
    rank: int


@dataclass(frozen=True)
class Made:
    """Where a package was written, and why torch.export's graph is not what it was made from."""

    package: Path
    refused: str = ""


def by_attnc(model: str, ios: int, precision: str, folder: Path) -> Made:
    """The package of `attnc export`, but that a tensor comes in and not a picture."""
    from attnc.compiler.cli.emit_coreml import CoremlEmitter
    from attnc.compiler.pipeline import run_pipeline
    from attnc.compiler.progress import SILENT
    from attnc.compiler.trace import trace
    from attnc.passes.pipelines import default
    from attnc.targets.coreml.package import PACKAGE
    from attnc.targets.profile import CoremlDevice, Profile

    device = CoremlDevice.model_validate({"ios": ios})
    profile = Profile(name=f"ios{ios}", target="coreml", description="", coreml=device)
    traced = replace(trace(model), preprocessing=None)
    run_pipeline(traced.model, default())
    CoremlEmitter(profile, precision, {}).emit(traced, folder, SILENT)
    return Made(folder / PACKAGE)


def by_coremltools(model: str, ios: int, precision: str, folder: Path) -> Made:
    """What coremltools.convert makes of torch.export's graph, or else of torch.jit.trace's.

    Raises UnsupportedError with what was said of both.
    """
    import torch

    network = _network(model)
    example = torch.zeros(1, network.channels, *network.image_size)
    refused = ""
    with quiet(), torch.no_grad():
        try:
            exported = torch.export.export(network.module, (example,)).run_decompositions({})
            made = convert(exported, example.shape, ios, precision)
        except Exception as error:  # coremltools fails in as many ways as networks differ
            refused = shortened(error)
            made = _traced(network.module, example, ios, precision, refused)
        made.save(str(folder / "plain.mlpackage"))
    return Made(folder / "plain.mlpackage", refused)


def _traced(module: Any, example: Any, ios: int, precision: str, refused: str) -> Any:
    import torch

    trace: Any = torch.jit.trace  # torch leaves it untyped
    try:
        graph = trace(module, example, check_trace=False)
        return convert(graph, example.shape, ios, precision)
    except Exception as error:
        detour = f"{refused}; from torch.jit.trace {shortened(error)}"
        raise UnsupportedError(detour) from error


def _network(model: str) -> Network:
    from attnc.compiler.trace.network import from_factory, from_registry
    from attnc.compiler.trace.request import check_request

    request = check_request(
        image_size=None, batch=1, num_classes=None, checkpoint=None, seed=0, options=None
    )
    return (from_factory if ":" in model else from_registry)(model, request)


def convert(graph: Any, shape: tuple[int, ...], ios: int, precision: str) -> Any:
    """coremltools' MLModel of a torch graph, its input a tensor in the program's precision."""
    import numpy as np

    from attnc.targets.coreml.package import quiet as without_bars
    from attnc.targets.coreml.versions import target_of

    coremltools = import_coremltools()
    half = precision == "fp16"
    dtype = np.float16 if half else np.float32
    numbers = coremltools.precision
    with without_bars():
        return coremltools.convert(
            graph,
            inputs=[coremltools.TensorType(name="x", shape=tuple(shape), dtype=dtype)],
            minimum_deployment_target=target_of(ios),
            compute_precision=numbers.FLOAT16 if half else numbers.FLOAT32,
            skip_model_load=True,
        )


Maker = Callable[[str, int, str, Path], Made]
MAKERS: dict[str, Maker] = {"attnc": by_attnc, "coremltools": by_coremltools}


def measure(maker: str, model: str, ios: int, precision: str) -> dict[str, Any]:
    """`counts`, and `refused` of `Made`; or only `failed`, why there is no program."""
    from attnc.runtimes.coreml.package import open_package

    with TemporaryDirectory(prefix="attnc-counts-") as folder:
        try:
            made = MAKERS[maker](model, ios, precision, Path(folder))
        except Exception as error:  # for the table, whatever it is
            traceback.print_exc()
            said = error.message if isinstance(error, AttncError) else shortened(error)
            return {"failed": said}
        counts = count(open_package(made.package).program.functions["main"])
        return {"counts": asdict(counts), "refused": made.refused}


def count(function: Function) -> Counts:
    """The counts of one function, nested blocks with it."""
    from attnc.runtimes.coreml.graph import is_constant
    from attnc.runtimes.coreml.program import TensorType

    working = [each for each in function.block.walk() if not is_constant(each)]
    kinds = [each.type for each in working]
    made = [
        (each.type, value.type)
        for each in working
        for value in each.outputs
        if isinstance(value.type, TensorType)
    ]
    return Counts(
        operations=len(kinds),
        rearranged=sum(kind in REARRANGING for kind in kinds),
        gathers=sum(kind in GATHERS for kind in kinds),
        casts=kinds.count("cast"),
        wide=sum(kind != "cast" and type_.dtype == "fp32" for kind, type_ in made),
        rank=max((len(type_.shape) for _, type_ in made), default=0),
    )


def shortened(error: BaseException) -> str:
    """Type and first sentence of an exception, without folders and addresses."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    said = re.sub(r"\s+at 0x[0-9a-fA-F]+|0x[0-9a-fA-F]+", "", lines[0])
    said = re.sub(r"(?:[A-Za-z]:)?(?:[/\\][\w.@+~-]+)*[/\\]([\w.@+~-]+\.\w+)", r"\1", said)
    said = re.split(r"(?<=\w{2}['\")\]])\. |(?<=\w{2})\. ", said, maxsplit=1)[0].rstrip(".:")
    said = said if len(said) <= _LONGEST else said[:_LONGEST].rsplit(" ", 1)[0] + " ..."
    return f"{type(error).__name__}: {said}"


def check(ios: int, precision: str) -> None:
    """Raise UsageError for what the two cannot be compared in."""
    from attnc.targets.coreml.versions import KNOWN

    known = [version for version in KNOWN if version >= 16]  # float16 inputs start there
    if ios not in known:
        listed = ", ".join(map(str, known))
        raise UsageError(f"no comparison for iOS {ios}", remedy=f"one of: {listed}")
    if precision not in PRECISIONS:
        raise UsageError(
            f"coremltools.convert does not compute in {precision!r}",
            remedy=f"one of: {', '.join(PRECISIONS)}",
        )


def main(
    maker: Annotated[str, typer.Argument(help="attnc or coremltools.")],
    model: Annotated[str, typer.Argument(help="A listed model, or package.module:factory.")],
    into: Annotated[Path, typer.Option(help="The JSON file to write.")],
    ios: Annotated[int, typer.Option(help="The deployment target.")] = 16,
    precision: Annotated[str, typer.Option(help="fp16 or fp32.")] = "fp16",
) -> None:
    """Make one program and write what it is made of."""
    check(ios, precision)
    import_coremltools()
    gc.freeze()  # each pass of coremltools collects garbage: what was imported is none
    into.write_text(json.dumps(measure(maker, model, ios, precision)), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
