"""The recurrent layers of MIL, stepped through by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mil_programs import Array, Case, cases, check, mb, numbers

draw = numbers(131)

STEPS, BATCH, WIDTH, HIDDEN = 4, 2, 3, 5
X = draw(STEPS, BATCH, WIDTH)
STATE, MEMORY = draw(BATCH, HIDDEN), draw(BATCH, HIDDEN)
BOTH_STATES, BOTH_MEMORIES = draw(BATCH, 2 * HIDDEN), draw(BATCH, 2 * HIDDEN)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.where(x > 0, x, 0),
    "linear": lambda x: x,
}


def weights(gates: int) -> dict[str, Array]:
    """Matrices and bias of a layer with a number of gates."""
    return {
        "weight_ih": draw(gates * HIDDEN, WIDTH, low=-1, high=1),
        "weight_hh": draw(gates * HIDDEN, HIDDEN, low=-1, high=1),
        "bias": draw(gates * HIDDEN, low=-1, high=1),
    }


def gate(own: dict[str, Array], index: int, x: Array, h: Array) -> Array:
    """What a gate gets from the input and the state, before its activation."""
    part = slice(index * HIDDEN, (index + 1) * HIDDEN)
    inputs = np.einsum("bi,hi->bh", x, own["weight_ih"][part].astype(np.float64))
    states = np.einsum("bi,hi->bh", h, own["weight_hh"][part].astype(np.float64))
    return inputs + states + (own["bias"][part] if "bias" in own else 0)


def in_order(x: Array, direction: str) -> list[Array]:
    """The steps as the layer takes them."""
    return [x[t] for t in (range(STEPS) if direction == "forward" else range(STEPS - 1, -1, -1))]


def rnn(activation: str, direction: str, sequence: bool, bias: bool = True) -> Case:
    """One matrix product and one activation per step."""
    own = weights(1)
    if not bias:
        del own["bias"]

    def expected(x: Array, h: Array) -> tuple[Array, Array]:
        states = []
        for step in in_order(x, direction):
            h = ACTIVATIONS[activation](gate(own, 0, step, h))
            states.append(h)
        return np.stack(states if sequence else states[-1:]), h

    return Case(
        "rnn",
        lambda x, h: mb.rnn(
            x=x,
            initial_h=h,
            activation=activation,
            direction=direction,
            output_sequence=sequence,
            **own,
        ),
        expected,
        (X, STATE),
        tolerance=1e-5,
        label=f"{activation}-{direction}-{sequence}-{bias}",
    )


def gru(direction: str, sequence: bool, target: str = "iOS16", after: bool | None = None) -> Case:
    """Gates in the order reset, new, update; only iOS18 can reset after the product."""
    own = weights(3)
    more: dict[str, Any] = {}
    entry = np.zeros(3 * HIDDEN)
    if after is not None:
        entry = draw(3 * HIDDEN)
        more = {"reset_after": after, "input_bias": entry}
    place = [slice(i * HIDDEN, (i + 1) * HIDDEN) for i in range(3)]

    def new(x: Array, h: Array, reset: Array) -> Array:
        inputs = np.einsum("bi,hi->bh", x, own["weight_ih"][place[1]].astype(np.float64))
        matrix, bias = own["weight_hh"][place[1]].astype(np.float64), own["bias"][place[1]]
        if after:
            states = reset * (np.einsum("bi,hi->bh", h, matrix) + bias)
        else:
            states = np.einsum("bi,hi->bh", reset * h, matrix) + bias
        return inputs + states + entry[place[1]]

    def expected(x: Array, h: Array) -> tuple[Array, Array]:
        states = []
        for step in in_order(x, direction):
            reset = ACTIVATIONS["sigmoid"](gate(own, 0, step, h) + entry[place[0]])
            update = ACTIVATIONS["sigmoid"](gate(own, 2, step, h) + entry[place[2]])
            h = (1 - update) * ACTIVATIONS["tanh"](new(step, h, reset)) + update * h
            states.append(h)
        return np.stack(states if sequence else states[-1:]), h

    return Case(
        "gru",
        lambda x, h: mb.gru(
            x=x, initial_h=h, direction=direction, output_sequence=sequence, **own, **more
        ),
        expected,
        (X, STATE),
        target=target,
        tolerance=1e-5,
        label=f"{direction}-{sequence}-{after}",
    )


def lstm_pass(
    own: dict[str, Array], x: list[Array], h: Array, c: Array
) -> tuple[list[Array], Array]:
    """States after every step, and the last memory; gates are input, forget, output, cell."""
    peep = own.get("peephole", np.zeros(3 * HIDDEN)).reshape(3, HIDDEN)
    sigmoid, tanh = ACTIVATIONS["sigmoid"], ACTIVATIONS["tanh"]
    states = []
    for step in x:
        i = sigmoid(gate(own, 0, step, h) + peep[0] * c)
        f = sigmoid(gate(own, 1, step, h) + peep[1] * c)
        z = tanh(gate(own, 3, step, h))
        c = f * c + i * z
        if "clip" in own:
            c = np.minimum(np.maximum(c, -own["clip"]), own["clip"])
        h = sigmoid(gate(own, 2, step, h) + peep[2] * c) * tanh(c)
        states.append(h)
    return states, c


def lstm(direction: str, sequence: bool, target: str = "iOS16", **more: Array) -> Case:
    """One direction of a long short-term memory."""
    own = {**weights(4), **more}

    def expected(x: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
        states, c = lstm_pass(own, in_order(x, direction), h, c)
        return np.stack(states if sequence else states[-1:]), states[-1], c

    return Case(
        "lstm",
        lambda x, h, c: mb.lstm(
            x=x, initial_h=h, initial_c=c, direction=direction, output_sequence=sequence, **own
        ),
        expected,
        (X, STATE, MEMORY),
        target=target,
        tolerance=1e-5,
        label="-".join([direction, str(sequence), *more]),
    )


def both_ways(sequence: bool) -> Case:
    """The backward half answers in the order of the input."""
    own, back = weights(4), weights(4)

    def expected(x: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
        ahead, ahead_c = lstm_pass(own, in_order(x, "forward"), h[:, :HIDDEN], c[:, :HIDDEN])
        behind, behind_c = lstm_pass(back, in_order(x, "reverse"), h[:, HIDDEN:], c[:, HIDDEN:])
        last = np.concatenate([ahead[-1], behind[-1]], 1)
        steps = [np.concatenate(pair, 1) for pair in zip(ahead, behind[::-1], strict=True)]
        return (
            np.stack(steps) if sequence else last[None],
            last,
            np.concatenate([ahead_c, behind_c], 1),
        )

    return Case(
        "lstm",
        lambda x, h, c: mb.lstm(
            x=x,
            initial_h=h,
            initial_c=c,
            direction="bidirectional",
            output_sequence=sequence,
            **own,
            **{f"{name}_back": values for name, values in back.items()},
        ),
        expected,
        (X, BOTH_STATES, BOTH_MEMORIES),
        tolerance=1e-5,
        label=f"bidirectional-{sequence}",
    )


CASES = [
    rnn("tanh", "forward", True),
    rnn("relu", "reverse", False),
    rnn("linear", "forward", False, bias=False),
    rnn("sigmoid", "forward", True),
    gru("forward", True),
    gru("reverse", False),
    gru("forward", True, "iOS17"),
    gru("forward", True, "iOS18", after=True),
    gru("forward", False, "iOS18", after=False),
    lstm("forward", True),
    lstm("forward", False, "iOS17"),
    lstm("reverse", False),
    lstm("forward", True, peephole=draw(3 * HIDDEN)),
    lstm("forward", True, clip=np.float32(0.25)),
    both_ways(True),
    both_ways(False),
]


@cases(CASES)
def test_every_state_follows_from_the_one_before(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
