"""Choices, loops, lists and constants of MIL, and the classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import Case, cases, check, mb, numbers, scalar

draw = numbers(151)

X, Y = draw(2, 3), draw(2, 3)
FLAGS = np.array([[True, False, True], [False, False, True]])
LARGE = draw(4, 6, 5)


def branched(x: Any) -> Any:
    """Twice the input where its first element exceeds one, else one less."""
    first = mb.slice_by_index(x=x, begin=[0], end=[1], squeeze_mask=[True])
    return mb.cond(
        pred=mb.greater(x=first, y=1.0),
        _true_fn=lambda: mb.mul(x=x, y=2.0),
        _false_fn=lambda: mb.sub(x=x, y=1.0),
    )


def doubled(x: Any) -> Any:
    """How often the input has to be doubled until its first element reaches a hundred."""
    return mb.while_loop(
        _cond=lambda value, count: mb.less(
            x=mb.slice_by_index(x=value, begin=[0], end=[1], squeeze_mask=[True]), y=100.0
        ),
        _body=lambda value, count: (mb.mul(x=value, y=2.0), mb.add(x=count, y=np.int32(1))),
        loop_vars=(x, np.int32(0)),
    )


def until_large(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same in Python."""
    count = 0
    while x[0] < 100:
        x, count = x * 2, count + 1
    return x, np.array(count)


def filled(length: int = 3, *, dynamic: bool = False) -> Any:
    """An empty list of vectors of three."""
    return mb.make_list(init_length=length, dynamic_length=dynamic, elem_shape=(3,), dtype="fp32")


def written(x: Any) -> Any:
    """A list with the two rows of the input at places 2 and 0."""
    rows = [
        mb.slice_by_index(x=x, begin=[i, 0], end=[i + 1, 3], squeeze_mask=[True, False])
        for i in range(2)
    ]
    return mb.list_write(
        ls=mb.list_write(ls=filled(), index=2, value=rows[0]), index=0, value=rows[1]
    )


CASES = [
    Case(
        "select",
        lambda c, a, b: mb.select(cond=c, a=a, b=b),
        lambda c, a, b: np.array(
            [
                [p if f else q for f, p, q in zip(*row, strict=True)]
                for row in zip(c, a, b, strict=True)
            ]
        ),
        (FLAGS, X, Y),
    ),
    Case(
        "select",
        lambda c, a: mb.select(cond=c, a=a, b=np.float32(-1)),
        lambda c, a: np.array(
            [[p if f else -1.0 for f, p in zip(c[0], row, strict=True)] for row in a]
        ),
        (FLAGS[:1], X),
    ),
    Case("cond", branched, lambda x: x * 2, (np.array([1.5, -3], np.float32),), label="true"),
    Case("cond", branched, lambda x: x - 1, (np.array([0.5, -3], np.float32),), label="false"),
    Case("while_loop", doubled, until_large, (np.array([0.75, -3], np.float32),)),
    Case("while_loop", doubled, until_large, (np.array([101, 5], np.float32),), label="never"),
    Case(
        "make_list",
        lambda x: mb.list_gather(ls=written(x), indices=[0, 1, 2]),
        lambda x: np.stack([x[1], 0 * x[0], x[0]]),
        (X,),
    ),
    Case(
        "list_write",
        lambda x: mb.list_gather(ls=written(x), indices=[0, 2]),
        lambda x: x[::-1],
        (X,),
    ),
    Case(
        "list_read",
        lambda x, i: mb.list_read(ls=written(x), index=scalar(i)),
        lambda x, i: x[0],
        (X, np.array([2], np.int32)),
    ),
    Case(
        "list_gather",
        lambda x, i: mb.list_gather(ls=written(x), indices=i),
        lambda x, i: np.stack([x[0], x[1], x[0]]),
        (X, np.array([2, 0, 2], np.int32)),
    ),
    Case(
        "list_scatter",
        lambda x, i: mb.list_gather(
            ls=mb.list_scatter(ls=filled(), indices=i, value=x), indices=[1, 2]
        ),
        lambda x, i: x[::-1],
        (X, np.array([2, 1], np.int32)),
    ),
    Case("list_length", lambda x: mb.list_length(ls=written(x)), lambda x: np.array(3), (X,)),
    Case("const", lambda x: mb.add(x=x, y=LARGE), lambda x: x + LARGE, (draw(5),), label="file"),
    Case(
        "const",
        lambda x: mb.add(x=x, y=[1.5, -2.0, 0.25]),
        lambda x: x + np.array([1.5, -2, 0.25]),
        (X,),
        label="immediate",
    ),
    Case(
        "const",
        lambda x: mb.gather(x=x, indices=np.array([1, 0], np.int32), axis=-1),
        lambda x: x[:, [1, 0]],
        (X,),
        label="int32",
    ),
    Case(
        "const",
        lambda x: mb.select(cond=FLAGS, a=x, b=0.0),
        lambda x: x * FLAGS,
        (X,),
        label="bool",
    ),
]


@cases(CASES)
def test_control_flow_leads_to_the_answer(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
