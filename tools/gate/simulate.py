"""How good the gate is on an invented machine: `python -m attnc.tools.gate.simulate`.

Each run goes through the same sittings, questions and second run as `attnc gate`, once without a
change and once with a true slow-down: with the baseline's bundle, and with a baseline of its own.
"""

from __future__ import annotations

import datetime
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import typer

from attnc.tools.gate.budget import Method
from attnc.tools.gate.noise import CASE, Noise, NoisyMachine
from attnc.tools.gate.questions import latency_against, latency_paired, ratio_to
from attnc.tools.gate.rates import wilson
from attnc.tools.gate.report import timed_result
from attnc.tools.gate.sampling import REFERENCE, judged, sample, suspects

#: What is asked of the gate: false alarms at most, true slow-downs caught at least.
FALSE_ALARMS, CAUGHT, SLOW_DOWN = 0.01, 0.95, 0.10


@dataclass(frozen=True)
class Run:
    """One simulated run: what the gate said, and the sittings that it needed for it."""

    status: str
    sittings: int


def run_once(
    method: Method, slower: float, noise: Noise, rng: np.random.Generator, *, paired: bool
) -> Run:
    """The gate at `slower` times the old speed: against the baseline's bundle in the same sittings
    if `paired`, otherwise against a baseline that was made before."""
    suffers = rng.uniform(noise.least, noise.greatest)

    def machine(speed: float) -> NoisyMachine:
        return NoisyMachine(rng, speed, suffers, method.rounds, method.burst, noise, paired)

    question = latency_paired(method)
    if not paired:
        made = sample(machine(1.0), {CASE: []}, method, fixed=method.baseline_sittings)
        question = latency_against(REFERENCE, ratio_to(REFERENCE)(made[CASE]), method)
    now = machine(slower)
    first = sample(now, {CASE: [question]}, method)
    again = suspects({CASE: [question]}, first)
    second = sample(now, again, method) if again else {}
    [(_, interval, confirmation)] = judged([question], first[CASE], second.get(CASE))
    return Run(timed_result(CASE, question, interval, confirmation).status, now.sittings)


def simulate(
    runs: int,
    method: Method | None = None,
    noise: Noise | None = None,
    seed: int = 0,
    *,
    paired: bool = True,
) -> dict[str, Any]:
    """The document: outcomes without and with a slow-down, rates with their 95 % intervals."""
    method, noise = method or Method(), noise or Noise()
    rng = np.random.default_rng(seed)
    begin = time.monotonic()
    unchanged = [run_once(method, 1.0, noise, rng, paired=paired) for _ in range(runs)]
    more = 1 + SLOW_DOWN
    slowed = [run_once(method, more, noise, rng, paired=paired) for _ in range(runs)]
    alarms = sum(run.status == "failed" for run in unchanged)
    caught = sum(run.status == "failed" for run in slowed)
    return {
        "compared": "bundle" if paired else "reference",
        "runs": runs,
        "slow_down": SLOW_DOWN,
        "false_alarms": _rate(alarms, runs),
        "caught": _rate(caught, runs),
        "meets_aims": alarms / runs <= FALSE_ALARMS and caught / runs >= CAUGHT,
        "unchanged": _outcomes(unchanged),
        "slowed": _outcomes(slowed),
        "method": method.model_dump(mode="json"),
        "noise": asdict(noise),
        "seed": seed,
        "simulated": datetime.date.today().isoformat(),
        "seconds": round(time.monotonic() - begin, 1),
    }


def _rate(count: int, runs: int) -> dict[str, Any]:
    low, high = wilson(count, runs)
    return {"rate": count / runs, "interval": [round(low, 4), round(high, 4)]}


def _outcomes(runs: list[Run]) -> dict[str, Any]:
    held = [run.sittings for run in runs]
    return {
        "statuses": dict(sorted(Counter(run.status for run in runs).items())),
        "sittings": {
            "median": float(np.median(held)),
            "p90": float(np.percentile(held, 90)),
            "most": max(held),
        },
    }


def main(
    runs: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    luck: Annotated[float, typer.Option(help="How unequal processes are.")] = Noise.luck,
    json: Annotated[str | None, typer.Option(help="Write the result here; - is stdout.")] = None,
) -> None:
    """Simulate with the baseline's bundle and without; exit code 1 if the gate misses what is asked
    of it."""
    from attnc.compiler.cli.console import write_json

    noise = Noise(luck=luck)
    found = {
        name: simulate(runs, noise=noise, seed=seed, paired=name == "bundles")
        for name in ("bundles", "stored")
    }
    write_json(found, json)
    for name, document in found.items():
        _tell(name, document)
    if not all(document["meets_aims"] for document in found.values()):
        raise typer.Exit(1)


def _tell(which: str, document: dict[str, Any]) -> None:
    from attnc.compiler.cli.console import note

    note("with the bundles:" if which == "bundles" else "with stored timings:")
    for name in ("false_alarms", "caught"):
        low, high = document[name]["interval"]
        note(f"{name}: {document[name]['rate']:.2%} ({low:.2%} to {high:.2%})")
    for name in ("unchanged", "slowed"):
        note(f"{name}: {document[name]}")


if __name__ == "__main__":
    typer.run(main)
