"""The classifier of MIL: a label and a dictionary instead of a tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mil_programs import ct, mb, mil, operations

from attnc.runtimes.coreml.evaluator import Evaluator
from attnc.runtimes.coreml.package import Package, open_package

CHANCES = np.array([[0.125, 0.5, 0.375]], np.float32)
#: What the coverage of the operations counts.
TESTED = ("classify",)


def classifier(folder: Path, labels: list[str] | list[int]) -> Package:
    """A program that doubles its input and gives it to the classifier."""
    program = mil.Program()
    with mil.Function({"x": mb.placeholder((1, 3))}, ct.target.iOS16) as function:
        function.set_outputs([mb.mul(x=function.inputs["x"], y=0.5, name="chances")])
    program.add_function("main", function)
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        classifier_config=ct.ClassifierConfig(labels),
        skip_model_load=True,
    )
    path = folder / "model.mlpackage"
    model.save(str(path))
    return open_package(path)


@pytest.mark.parametrize("labels", [["cat", "dog", "owl"], [7, 3, 5]], ids=["names", "numbers"])
def test_the_label_is_that_of_the_largest_value(
    labels: list[str] | list[int], tmp_path: Path
) -> None:
    package = classifier(tmp_path, labels)
    assert "classify" in {operation.type for operation in operations(package)}
    answers = Evaluator(package).run({"x": CHANCES})
    kinds = {output.kind: answers[output.name] for output in package.outputs}
    assert set(kinds) == {"label", "dictionary"}
    assert kinds["label"] == labels[1]
    assert kinds["dictionary"] == dict(zip(labels, [0.0625, 0.25, 0.1875], strict=True))
