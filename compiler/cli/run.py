"""`attnc run`: what a bundle sees in a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnc.compiler.cli.options import JsonOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from attnc.compiler.bundle import Bundle
    from attnc.runtimes.runner import Runner


def run(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    picture: Annotated[Path, typer.Argument(help="A picture: JPEG, PNG, WebP, ...")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Intra-op threads; ONNX Runtime's choice without it.")
    ] = None,
    no_kernels: Annotated[
        bool, typer.Option("--no-kernels", help="Run on the function bodies, slower.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Classify a picture: the best classes, with their probabilities."""
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.cli.console import write_json
    from attnc.compiler.errors import UsageError

    opened = Bundle.open(bundle)
    if opened.manifest.coreml is not None:
        if threads is not None or no_kernels:
            raise UsageError(
                "--threads and --no-kernels mean nothing for a Core ML bundle", remedy="leave them"
            )
        logits = _evaluate(opened, picture)
    else:
        array = _prepare(opened, picture)
        with _runner(opened, threads, kernels=not no_kernels) as runner:
            logits = runner.run({runner.inputs[0].name: array})[runner.outputs[0].name][0]
    rows = _best(logits, top, opened.labels)
    write_json({"picture": str(picture), "top": rows}, json)
    if json != "-":
        _print(picture, rows)


def _runner(bundle: Bundle, threads: int | None, *, kernels: bool) -> Runner:
    """ONNX Runtime, or the web engine by wasmtime, which has one thread."""
    from attnc.compiler.errors import UsageError
    from attnc.runtimes.attnc_runner import AttncRunner
    from attnc.runtimes.web.runner import WebRunner

    if bundle.manifest.web is None or not kernels:
        return AttncRunner(bundle, threads, kernels=kernels)
    if threads not in (None, 1):
        raise UsageError(
            "the web engine has one thread outside of a browser",
            remedy="leave --threads, or add --no-kernels to run model.onnx in ONNX Runtime",
        )
    return WebRunner(bundle)


def _evaluate(bundle: Bundle, picture: Path) -> NDArray[np.float32]:
    """The logits of a Core ML bundle, by the evaluator: the same on every machine."""
    from attnc.compiler.cli.console import note
    from attnc.runtimes.coreml.cases import takes_pictures
    from attnc.runtimes.coreml.evaluator import Evaluator
    from attnc.runtimes.coreml.judging import evaluate
    from attnc.runtimes.coreml.package import open_package
    from attnc.runtimes.preprocess import fit, load_picture

    array = _prepare(bundle, picture)
    entry, rule = bundle.manifest.coreml, bundle.manifest.preprocessing
    assert entry is not None
    assert rule is not None
    note("evaluated by the meaning of the program's operations, not by Core ML")
    given = fit(load_picture(picture), rule) if takes_pictures(bundle.manifest) else array
    evaluator = Evaluator(open_package(bundle.path / entry.package))
    logits: NDArray[np.float32] = evaluate(evaluator, given)[0]
    return logits


def _print(picture: Path, rows: list[dict[str, Any]]) -> None:
    from attnc.compiler.cli.console import print_table

    columns = ["class", "probability"]
    cells = [[str(row["class"]), f"{row['probability']:.4f}"] for row in rows]
    if any(row["label"] for row in rows):
        columns.append("label")
        cells = [[*cell, row["label"]] for cell, row in zip(cells, rows, strict=True)]
    print_table(picture.name, columns, cells)


def _prepare(bundle: Bundle, picture: Path) -> NDArray[np.float32]:
    from attnc.compiler.errors import UnsupportedError, UsageError
    from attnc.runtimes.preprocess import load_picture, preprocess

    rule, device = bundle.manifest.preprocessing, bundle.manifest.coreml is not None
    if rule is None:
        raise UnsupportedError(
            "the bundle does not say how pictures are prepared: its source did not",
            where=str(bundle.path),
            remedy="prepare the array yourself and "
            + ("give it to the package, in Core ML" if device else "use attnc.open(path).run(...)"),
        )
    if bundle.manifest.batch not in (1, "dynamic"):
        raise UsageError(
            f"the bundle takes {bundle.manifest.batch} pictures at once, not one",
            where=str(bundle.path),
            remedy="export it with --batch 1" + ("" if device else " or --batch dynamic"),
        )
    return preprocess(load_picture(picture), rule)


def _best(logits: NDArray[np.float32], top: int, labels: list[str] | None) -> list[dict[str, Any]]:
    import numpy as np

    shifted = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = shifted / shifted.sum()
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [
        {
            "class": int(index),
            "label": labels[index] if labels else "",
            "logit": float(logits[index]),
            "probability": float(probabilities[index]),
        }
        for index in order
    ]
