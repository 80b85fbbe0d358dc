"""How good the gate is on this machine: `python -m attnc.tools.gate.trial --runs 40`.

Real runs of a small model against a baseline, each once as it is and once with a true slow-down in
its kernels. The machine should have nothing else to do. `--resume` goes on with a file.
"""

from __future__ import annotations

import datetime
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import typer

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.console import note, write_json
from attnc.compiler.progress import SILENT
from attnc.runtimes.machine import machine_info
from attnc.tools.gate.baseline import Baseline
from attnc.tools.gate.budget import Budgets, Case, Method
from attnc.tools.gate.drill import calibrated, drilled, slower
from attnc.tools.gate.gate import Setting, run_gate
from attnc.tools.gate.lab import RealLab
from attnc.tools.gate.rates import wilson
from attnc.tools.gate.report import GateReport
from attnc.tools.gate.simulate import CAUGHT, FALSE_ALARMS, SLOW_DOWN

DEFAULT = Path(__file__).resolve().parent / "trial.json"
#: A new baseline every so many runs: a lucky or unlucky one must not colour all of them.
RENEW = 10
Entry = dict[str, Any]


class Runs(Protocol):
    """What a trial is made of."""

    def renew(self) -> None:
        """A new baseline."""

    def run(self, slowed: bool) -> Entry:
        """One run of the gate."""


class Trial:
    """One model with the drill library, its baseline, and the runs so far."""

    def __init__(self, bundle: Bundle, per_mille: int, method: Method) -> None:
        case = Case(name="drilled", bundle=str(bundle.path), target="cpu")
        self._budgets = Budgets(gate=method, case=(case,))
        self._machine, self._per_mille = machine_info(), per_mille
        self._baseline: Baseline | None = None

    def renew(self) -> None:
        """A new baseline, without a slow-down."""
        with slower(0), RealLab(self._budgets, Path.cwd(), SILENT) as lab:
            setting = Setting("", [1], self._machine, update=True)
            report, record = run_gate(self._budgets, lab, setting)
        if report.exit_code:
            note("the machine is too noisy for a baseline; the runs go on with a rough one")
        self._baseline = Baseline().renewed(record)

    def run(self, slowed: bool) -> Entry:
        """The gate as a user has it, on the model as it is or slowed down."""
        setting = Setting("", [1], self._machine, self._baseline)
        with (
            slower(self._per_mille if slowed else 0),
            RealLab(self._budgets, Path.cwd(), SILENT) as lab,
        ):
            report, _ = run_gate(self._budgets, lab, setting)
        return _entry(report, slowed)


def _entry(report: GateReport, slowed: bool) -> Entry:
    found = next(result for result in report.results if result.metric == "latency")
    return {
        "slowed": slowed,
        "status": found.status,
        "change": found.value,
        "interval": found.interval,
        "second": found.confirmation,
        "second_interval": found.confirmation_interval,
        "sittings": report.cases[0].sittings,
        "latency_ms": report.cases[0].values["latency_ms"],
        "seconds": report.seconds,
    }


def summarised(entries: list[Entry], facts: Entry) -> Entry:
    """The document: rates with their 95 % intervals, and every run."""
    unchanged = [entry for entry in entries if not entry["slowed"]]
    slowed = [entry for entry in entries if entry["slowed"]]
    rates = {"false_alarms": _rate(unchanged), "caught": _rate(slowed)}
    meets = None
    if unchanged and slowed:
        meets = rates["false_alarms"]["rate"] <= FALSE_ALARMS and rates["caught"]["rate"] >= CAUGHT
    return {
        **facts,
        "measured": datetime.date.today().isoformat(),
        "runs": {"unchanged": len(unchanged), "slowed": len(slowed)},
        **rates,
        "no_verdict": sum(entry["status"] == "no-verdict" for entry in entries),
        "meets_aims": meets,
        "seen": {"unchanged": _seen(unchanged), "slowed": _seen(slowed)},
        "entries": entries,
    }


def _rate(entries: list[Entry]) -> dict[str, Any]:
    failed = sum(entry["status"] == "failed" for entry in entries)
    low, high = wilson(failed, len(entries)) if entries else (0.0, 1.0)
    rate = failed / len(entries) if entries else 0.0
    return {"rate": rate, "interval": [round(low, 4), round(high, 4)]}


def _seen(entries: list[Entry]) -> dict[str, Any]:
    """What the runs measured: the change against the baseline, and what it took."""
    if not entries:
        return {}
    changes = [entry["change"] for entry in entries]
    return {
        "change": {
            "mean": round(float(np.exp(np.mean(np.log(changes)))), 4),
            "deviation": round(float(np.std(changes)), 4),
        },
        "median_seconds": float(np.median([entry["seconds"] for entry in entries])),
        "median_sittings": float(np.median([entry["sittings"] for entry in entries])),
    }


def _held(path: Path) -> list[Entry]:
    """The runs of an earlier trial."""
    if not path.is_file():
        return []
    loaded: list[Entry] = json.loads(path.read_text(encoding="utf-8"))["entries"]
    return loaded


def main(
    runs: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 40,
    model: Annotated[str, typer.Option(help="A small listed model.")] = "shvit_s1",
    image_size: Annotated[int, typer.Option(help="Pixels.")] = 64,
    sittings: Annotated[
        int | None, typer.Option(min=3, help="Fewer, to see that it works.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the file's runs.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="The result.")] = DEFAULT,
) -> None:
    """Run the trial and write its result after each run; exit code 1 if it misses the aims."""
    from attnc.compiler.cli.api import export

    method = Method() if sittings is None else few(sittings)
    entries = _held(output) if resume else []
    with tempfile.TemporaryDirectory(prefix="attnc-trial-") as name:
        whole = export(model, output=Path(name) / "own", image_size=image_size, measure=False)
        bundle = drilled(whole, Path(name) / "drilled")
        per_mille, measured = calibrated(bundle, SLOW_DOWN)
        note(f"operators slower by {per_mille / 10:g} %, the model by {measured:.1%}")
        facts = {
            "model": model,
            "image_size": image_size,
            "slow_down": round(measured, 4),
            "machine": machine_info(),
            "method": method.model_dump(mode="json"),
        }
        document = go_on(Trial(bundle, per_mille, method), runs, entries, facts, output)
    if not document["meets_aims"]:
        raise typer.Exit(1)


def go_on(trial: Runs, runs: int, entries: list[Entry], facts: Entry, output: Path) -> Entry:
    """Runs of both kinds in turn until there are `runs` of each; the order changes each time."""
    document = summarised(entries, facts)
    first = len(entries) // 2
    for number in range(first, runs):
        if number % RENEW == 0 or number == first:
            trial.renew()
        pair = [trial.run(slowed) for slowed in ((False, True), (True, False))[number % 2]]
        entries += pair
        document = summarised(entries, facts)
        write_json(document, str(output))
        for entry in pair:
            kind = "slowed" if entry["slowed"] else "unchanged"
            note(f"{number + 1}/{runs} {kind}: {entry['status']}, change {entry['change']}")
    return document


def few(sittings: int) -> Method:
    """A method that takes little time and decides little."""
    return Method(
        sittings=sittings, step=sittings, most=2 * sittings, baseline_sittings=2 * sittings
    )


if __name__ == "__main__":
    typer.run(main)
