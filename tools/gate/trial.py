"""How good the gate is on this machine: `python -m attnc.tools.gate.trial --runs 40`.

Real runs of a small model beside the bundle of its baseline, each once as it is and once with a
true slow-down in its kernels. The result is written after each run; `--resume` goes on with a file.
"""

from __future__ import annotations

import datetime
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import typer

from attnc.compiler.bundle import Bundle
from attnc.compiler.cli.console import note, write_json
from attnc.compiler.errors import UsageError
from attnc.compiler.progress import SILENT
from attnc.runtimes.machine import machine_info
from attnc.tools.gate import kept
from attnc.tools.gate.baseline import Baseline, CaseRecord, MachineClass, Record
from attnc.tools.gate.budget import Budgets, Case, Method
from attnc.tools.gate.counters import count
from attnc.tools.gate.drill import calibrated, drilled, slower
from attnc.tools.gate.gate import Setting, run_gate
from attnc.tools.gate.lab import RealLab
from attnc.tools.gate.rates import wilson
from attnc.tools.gate.report import GateReport
from attnc.tools.gate.simulate import CAUGHT, FALSE_ALARMS, SLOW_DOWN

DEFAULT = Path(__file__).resolve().parent / "trial.json"
#: What has to be the same for runs to be counted together.
ALIKE = ("compared", "model", "image_size", "method")
Entry = dict[str, Any]


class Runs(Protocol):
    """What a trial is made of."""

    def run(self, slowed: bool) -> Entry:
        """One run of the gate."""


class Trial:
    """One model with the drill library, and a baseline whose bundle is the same but deaf to it."""

    def __init__(self, whole: Bundle, folder: Path, method: Method) -> None:
        self.bundle = drilled(whole, folder / "drilled")
        before = drilled(whole, folder / "before", deaf=True)
        self._kept = folder / "bundles"
        kept.keep(self._kept, [before])
        self._case = Case(name="drilled", bundle=str(self.bundle.path), target="cpu")
        self._budgets = Budgets(gate=method, case=(self._case,))
        self._machine, self.per_mille = machine_info(), 0
        self._baseline = Baseline().renewed(self._record(before))

    def _record(self, before: Bundle) -> Record:
        """Counters and the bundle; no timings: none are used where the bundle is."""
        case = CaseRecord(
            settings=self._case.settings(),
            counters=count(before),
            bundle=before.manifest.digest,
        )
        return Record(
            machine=MachineClass.of(self._machine),
            measured=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            sittings=0,
            cases={self._case.label: case},
        )

    def run(self, slowed: bool) -> Entry:
        """The gate as a user has it, on the model as it is or slowed down."""
        begin = time.monotonic()
        setting = Setting("", [1], self._machine, self._baseline)
        with (
            slower(self.per_mille if slowed else 0),
            RealLab(self._budgets, Path.cwd(), SILENT, self._kept) as lab,
        ):
            report, _ = run_gate(self._budgets, lab, setting)
        return _entry(report, slowed, time.monotonic() - begin)


def _entry(report: GateReport, slowed: bool, seconds: float) -> Entry:
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
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "seconds": round(seconds, 1),
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


def held(path: Path, facts: Entry) -> list[Entry]:
    """The runs of an earlier trial. Raises UsageError if they were made in another way."""
    if not path.is_file():
        return []
    document = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name in ALIKE if document.get(name) != facts[name]]
    if other:
        raise UsageError(
            f"the runs in {path.name} were made in another way ({', '.join(other)} differ), so "
            "they cannot be counted with new ones",
            where=str(path),
            remedy="begin anew without --resume, or name another file with --output",
        )
    loaded: list[Entry] = document["entries"]
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
    facts: Entry = {
        "compared": "bundle",
        "model": model,
        "image_size": image_size,
        "machine": machine_info(),
        "method": method.model_dump(mode="json"),
    }
    try:
        entries = held(output, facts) if resume else []
    except UsageError as error:
        note(error.render())
        raise typer.Exit(error.exit_code) from error
    with tempfile.TemporaryDirectory(prefix="attnc-trial-") as name:
        whole = export(model, output=Path(name) / "own", image_size=image_size, measure=False)
        trial = Trial(whole, Path(name), method)
        trial.per_mille, measured = calibrated(trial.bundle, SLOW_DOWN)
        note(f"operators slower by {trial.per_mille / 10:g} %, the model by {measured:.1%}")
        facts["slow_down"] = round(measured, 4)
        document = go_on(trial, runs, entries, facts, output)
    if not document["meets_aims"]:
        raise typer.Exit(1)


def go_on(trial: Runs, runs: int, entries: list[Entry], facts: Entry, output: Path) -> Entry:
    """Runs of both kinds in turn until there are `runs` of each; the order changes each time.

    The result is written after each run, so one that is interrupted costs that run alone.
    """
    for number in range(runs):
        for slowed in ((False, True), (True, False))[number % 2]:
            if sum(entry["slowed"] == slowed for entry in entries) > number:
                continue
            entry = trial.run(slowed)
            entries.append(entry)
            write_json(summarised(entries, facts), str(output))
            kind = "slowed" if slowed else "unchanged"
            change, seconds = entry["change"], entry["seconds"]
            note(f"{number + 1}/{runs} {kind}: {entry['status']}, change {change}, {seconds} s")
    return summarised(entries, facts)


def few(sittings: int) -> Method:
    """A method that takes little time and decides little."""
    return Method(
        sittings=sittings, step=sittings, most=2 * sittings, baseline_sittings=2 * sittings
    )


if __name__ == "__main__":
    typer.run(main)
