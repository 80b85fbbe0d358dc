"""Which patches of the picture tokens are, after some were dropped: places followed back.

A place says which of the tokens before it was kept. The same tokens in another order are at other
places, so that selections are compared by patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Tokens:
    """The patches that are left of each picture (or row); none are known before the first choice.

    The place behind the last is the token that the rest was fused into, which is no patch: its
    number is negative, another one for each length of the sequence.
    """

    def __init__(self) -> None:
        self.held: list[Array] = []

    def at(self, places: Sequence[Array] | Array) -> list[Array]:
        """The patches at these places of each picture; the places, where nothing is known."""
        if not self.held:
            return list(places)
        return [
            np.append(held, -1 - len(held))[np.minimum(row, len(held))]
            for held, row in zip(self.held, places, strict=True)
        ]

    def keep(self, places: Sequence[Array] | Array) -> list[Array]:
        """Only these are left from here on."""
        self.held = self.at(places)
        return self.held

    def can_hold(self, places: Sequence[Array] | Array) -> bool:
        """Whether these can be places of what is left."""
        return len(self.held) == len(places) and all(map(_follows, self.held, places))

    def forget(self) -> None:
        """What comes next is of another sequence."""
        self.held = []


def _follows(held: Array, places: Array) -> bool:
    return int(places.max()) <= len(held) and len(places) <= len(held) + 1
