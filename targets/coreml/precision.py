"""Which operations stay float32 in a float16 program: the fewest that recorded values demand.

What was recorded of an operation (`Readings`): "largest" and "read", the largest magnitude that it
gives and takes; "squares", the largest square or sum of squares inside; "variance", the least one
that its "epsilon" is added to.
"""

from __future__ import annotations

from collections.abc import Mapping

from attnc.passes.precision.low import LOWS

Readings = Mapping[str, Mapping[str, float]]
#: A share of a variance under which nobody sees an epsilon in float16 results.
_SEEN = 2.0**-10


def islands(readings: Readings) -> dict[str, str]:
    """The operations that stay float32, each with its reason."""
    found = {name: _reason(reading) for name, reading in readings.items()}
    return {name: reason for name, reason in found.items() if reason}


def _reason(reading: Mapping[str, float]) -> str:
    low = LOWS["fp16"]
    if reading.get("largest", 0.0) > low.safe:
        return f"its values reach {reading['largest']:.3g}, too near the end of float16"
    if reading.get("read", 0.0) > low.safe:
        return f"it reads values up to {reading['read']:.3g}, too near the end of float16"
    if reading.get("squares", 0.0) > low.safe:
        return f"squares inside it reach {reading['squares']:.3g}, too near the end of float16"
    epsilon, variance = reading.get("epsilon", 1.0), reading.get("variance", 1.0)
    if 0 < epsilon < low.smallest and epsilon > _SEEN * variance:
        return f"its epsilon of {epsilon:.3g} vanishes beside a variance of {variance:.3g}"
    return ""
