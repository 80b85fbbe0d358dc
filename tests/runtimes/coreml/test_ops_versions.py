"""The same operations in every operation set, for a new one may add or drop their inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mil_formulas import convolution
from mil_programs import Case, cases, check, converted, mb, numbers

draw = numbers(191)

VERSIONS = {"iOS15": 15, "iOS16": 16, "iOS17": 17, "iOS18": 18, "iOS26": 26}
X, IMAGE = draw(3, 4), draw(1, 2, 5, 5)
WEIGHT = draw(3, 2, 3, 3)

CASES = [
    case
    for version in VERSIONS
    for case in (
        Case(
            "conv",
            lambda x: mb.conv(x=x, weight=WEIGHT, pad_type="valid", strides=[2, 1]),
            lambda x: convolution(x, WEIGHT, stride=[2, 1], pad=[(0, 0)] * 2, dilation=[1, 1]),
            (IMAGE,),
            target=version,
        ),
        Case(
            "gather",
            lambda x: mb.gather(x=x, indices=np.array([2, 0], np.int32), axis=0),
            lambda x: np.stack([x[2], x[0]]),
            (X,),
            target=version,
        ),
        Case(
            "topk",
            lambda x: mb.topk(x=x, k=2, axis=-1, ascending=True),
            lambda x: (
                np.array([sorted(row)[:2] for row in x.tolist()]),
                np.array([[row.index(v) for v in sorted(row)[:2]] for row in x.tolist()]),
            ),
            (X,),
            target=version,
        ),
        Case(
            "reshape",
            lambda x: mb.reshape(x=x, shape=[2, -1]),
            lambda x: np.array([x.ravel()[:6], x.ravel()[6:]]),
            (X,),
            target=version,
        ),
        Case(
            "inverse",
            lambda x: mb.inverse(x=x, epsilon=3.0),
            lambda x: 1 / (x + 3),
            (X,),
            target=version,
        ),
        Case(
            "reduce_argmax",
            lambda x: mb.reduce_argmax(x=x, axis=0),
            lambda x: np.array([row.index(max(row)) for row in x.T.tolist()]),
            (X,),
            target=version,
        ),
    )
]


@cases(CASES)
def test_every_version_gives_the_same(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


@pytest.mark.parametrize(("version", "number"), VERSIONS.items())
def test_the_package_says_its_version(version: str, number: int, tmp_path: Path) -> None:
    package = converted(tmp_path, lambda x: mb.relu(x=x), (X,), version)
    assert package.program.functions["main"].opset == number
