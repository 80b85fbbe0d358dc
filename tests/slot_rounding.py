"""How far float32 may take SlotCluster's slots: a large scale lets every rounding of a cosine tell.

A logit that is off by d takes the weights of its slot, w, and with them the slot y = sum w x, at
most d sum w |x - y| away. One rounding of a cosine, which is at most 1, is scale * 2^-24 of d; its
two lengths and its products round a few times.
"""

from __future__ import annotations

import numpy as np

from attnc.compiler.ops.base import Example
from attnc.compiler.ops.reference import softmax

ROUNDINGS = 4


def slacks(name: str, example: Example, expected: tuple[np.ndarray, ...]) -> list[float]:
    """Per output, the error, relative to its largest value, that rounded cosines explain."""
    if name != "SlotCluster":
        return [0.0] * len(expected)
    (slots, logits), x = expected, np.asarray(example.inputs[0], np.float64)
    weights = softmax(logits.transpose(0, 2, 1))
    spread = [
        np.einsum("st,stc->sc", w, np.abs(tokens[None] - y[:, None])).max(initial=0)
        for w, tokens, y in zip(weights, x, slots, strict=True)
    ]
    rounded = ROUNDINGS * abs(example.attributes["scale"]) * 2.0**-24
    return [rounded * float(max(spread)) / (float(np.abs(slots).max()) or 1.0), 0.0]
