"""Recurrent layers: rnn, gru and lstm over sequences [s, b, I], states [b, H].

A reverse layer gives its steps in the order in which it took them; only the backward half of a
bidirectional lstm is turned back to the order of its input.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attnc.runtimes.coreml.call import Call
from attnc.runtimes.coreml.types import Array

Activation = Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _hard_sigmoid(x: Array) -> Array:
    return np.asarray(np.clip(np.float32(0.2) * x + np.float32(0.5), 0, 1))


#: scaled_tanh takes its scales from its defaults, which are 1.
_ACTIVATIONS: dict[str, Activation] = {
    "hard_sigmoid": _hard_sigmoid,
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "scaled_tanh": np.tanh,
    "sigmoid": _sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": np.tanh,
}


def _activation(call: Call, name: str, default: str) -> Activation:
    kind = call.text(name, default).lower()
    if kind not in _ACTIVATIONS:
        raise ValueError(f"unknown {name} '{kind}'")
    return _ACTIVATIONS[kind]


def _optional(call: Call, name: str, length: int) -> Array:
    """A vector that is zero where it is absent."""
    if call.get(name) is None:
        return np.zeros(length, np.float32)
    return np.asarray(call.wide(name))


def _sequence(call: Call) -> Array:
    """The steps in the order in which the layer takes them."""
    direction = call.text("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"unknown direction '{direction}'")
    x = np.asarray(call.wide("x"))
    return x[::-1] if direction == "reverse" else x


def _steps(call: Call, states: Array) -> Array:
    return states if call.flag("output_sequence", False) else states[-1:]


def _rnn(call: Call) -> tuple[Array, ...]:
    h, recurrent = call.wide("initial_h"), call.wide("weight_hh")
    act = _activation(call, "activation", "tanh")
    drive = _sequence(call) @ call.wide("weight_ih").T + _optional(call, "bias", h.shape[1])
    states = []
    for step in drive:
        h = act(step + h @ recurrent.T)
        states.append(h)
    return _steps(call, np.stack(states)), h


def _gru(call: Call) -> tuple[Array, ...]:
    h = call.wide("initial_h")
    size = h.shape[1]
    act = _activation(call, "activation", "tanh")
    gate = _activation(call, "recurrent_activation", "sigmoid")
    bias = _optional(call, "bias", 3 * size)
    drive = _sequence(call) @ call.wide("weight_ih").T + _optional(call, "input_bias", 3 * size)
    reset_w, new_w, update_w = np.split(call.wide("weight_hh").T, 3, axis=1)
    reset_b, new_b, update_b = np.split(bias, 3)
    after = call.flag("reset_after", False)
    states = []
    for step in drive:
        reset_x, new_x, update_x = np.split(step, 3, axis=1)
        r = gate(reset_x + h @ reset_w + reset_b)
        z = gate(update_x + h @ update_w + update_b)
        # By default the state is reset before it is multiplied.
        o = act(new_x + (r * (h @ new_w + new_b) if after else (r * h) @ new_w + new_b))
        h = (1 - z) * o + z * h
        states.append(h)
    return _steps(call, np.stack(states)), h


def _lstm_pass(call: Call, x: Array, h: Array, c: Array, suffix: str) -> tuple[Array, Array]:
    """Hidden states of all steps, and the last memory; `suffix` picks the weights."""
    size = h.shape[1]
    gate = _activation(call, "recurrent_activation", "sigmoid")
    cell = _activation(call, "cell_activation", "tanh")
    act = _activation(call, "activation", "tanh")
    recurrent = call.wide(f"weight_hh{suffix}").T
    drive = x @ call.wide(f"weight_ih{suffix}").T + _optional(call, f"bias{suffix}", 4 * size)
    peep_i, peep_f, peep_o = np.split(_optional(call, f"peephole{suffix}", 3 * size), 3)
    limit = np.inf if call.get("clip") is None else call.number("clip")
    states = []
    for step in drive:
        i, f, o, z = np.split(step + h @ recurrent, 4, axis=1)
        c = gate(f + peep_f * c) * c + gate(i + peep_i * c) * cell(z)
        c = np.clip(c, -limit, limit)
        h = gate(o + peep_o * c) * act(c)
        states.append(h)
    return np.stack(states), c


def _lstm(call: Call) -> tuple[Array, ...]:
    x, h, c = _sequence(call), call.wide("initial_h"), call.wide("initial_c")
    if call.text("direction", "forward") != "bidirectional":
        states, c = _lstm_pass(call, x, h, c, "")
        return _steps(call, states), states[-1], c
    (h, h_back), (c, c_back) = np.split(h, 2, axis=1), np.split(c, 2, axis=1)
    forward, c = _lstm_pass(call, x, h, c, "")
    backward, c_back = _lstm_pass(call, x[::-1], h_back, c_back, "_back")
    last = np.concatenate([forward[-1], backward[-1]], axis=1)
    states = np.concatenate([forward, backward[::-1]], axis=2)
    sequence = states if call.flag("output_sequence", False) else last[None]
    return sequence, last, np.concatenate([c, c_back], axis=1)


OPERATIONS = {"gru": _gru, "lstm": _lstm, "rnn": _rnn}
