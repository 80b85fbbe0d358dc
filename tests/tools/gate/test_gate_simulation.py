"""How good the gate is, on an invented machine, and the arithmetic of the trial on a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnc.compiler.errors import UsageError
from attnc.tools.gate.noise import CASE, Noise, NoisyMachine
from attnc.tools.gate.simulate import simulate
from attnc.tools.gate.trial import few, go_on, held, summarised

HERE = Path(__file__).resolve().parent.parent.parent.parent / "tools" / "gate"


@pytest.mark.parametrize("paired", [True, False])
def test_a_few_simulated_runs_meet_the_aims(paired: bool) -> None:
    document = simulate(40, seed=5, paired=paired)
    assert document["false_alarms"]["rate"] <= 0.025
    assert document["caught"]["rate"] >= 0.95
    assert sum(document["slowed"]["statuses"].values()) == 40


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_many_simulated_runs_meet_the_aims(paired: bool) -> None:
    document = simulate(400, seed=6, paired=paired)
    assert document["meets_aims"], document


def test_a_quiet_machine_needs_the_fewest_sittings() -> None:
    quiet = Noise(luck=0.01, drift=0.0, arrives=0.0, turn=0.0, hits=0.0)
    document = simulate(10, noise=quiet)
    assert document["unchanged"]["sittings"]["most"] == 8
    assert document["slowed"]["statuses"] == {"failed": 10}


@pytest.mark.parametrize("paired", [True, False])
def test_a_hopeless_machine_gives_no_verdict_rather_than_a_wrong_one(paired: bool) -> None:
    document = simulate(10, noise=Noise(luck=3.0), paired=paired)
    statuses = document["unchanged"]["statuses"]
    assert statuses.get("no-verdict", 0) >= 5
    assert "failed" not in statuses


def test_the_same_seed_gives_the_same_outcome() -> None:
    first, second = simulate(5, seed=3), simulate(5, seed=3)
    assert first["slowed"] == second["slowed"]


def test_the_machine_is_slower_by_what_it_is_told() -> None:
    import numpy as np

    names = ("luck", "clock", "drift", "arrives", "alike", "turn", "spread", "hits", "machine")
    still = Noise(**dict.fromkeys(names, 0.0))
    for paired, other in ((False, "reference"), (True, "baseline")):
        machine = NoisyMachine(np.random.default_rng(0), 1.1, 1.0, 3, 4, still, paired)
        sitting = machine.sit([CASE])[CASE]
        assert np.allclose(sitting["attnc"] / sitting[other], 1.1)


def test_a_restless_machine_spoils_stored_timings_and_not_pairs() -> None:
    restless = Noise(machine=0.12)
    paired = simulate(10, noise=restless, seed=1)
    stored = simulate(10, noise=restless, seed=1, paired=False)
    assert paired["meets_aims"]
    assert stored["caught"]["rate"] < 0.95


def entry(slowed: bool, status: str) -> dict[str, object]:
    figures = {"change": 1.1 if slowed else 1.0, "seconds": 9.0, "sittings": 8}
    return {"slowed": slowed, "status": status, **figures}


def test_the_trial_counts() -> None:
    entries = [entry(False, "passed"), entry(True, "failed")] * 19
    entries += [entry(False, "no-verdict"), entry(True, "passed")]
    document = summarised(entries, {"slow_down": 0.1})
    assert document["false_alarms"]["rate"] == 0
    assert document["caught"]["rate"] == pytest.approx(0.95)
    assert document["meets_aims"] is True
    assert document["no_verdict"] == 1
    assert document["seen"]["slowed"]["change"]["mean"] == pytest.approx(1.1)
    json.dumps(document, allow_nan=False)


class FakeTrial:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.order: list[bool] = []

    def run(self, slowed: bool) -> dict[str, object]:
        self.order.append(slowed)
        return entry(slowed, "failed" if slowed else "passed")


def test_a_trial_goes_on_where_it_ended(tmp_path: Path) -> None:
    output = tmp_path / "trial.json"
    first = FakeTrial()
    document = go_on(first, 2, [], {}, output)
    assert first.order == [False, True, True, False]
    written = json.loads(output.read_text(encoding="utf-8"))
    assert written == document
    second = FakeTrial()
    document = go_on(second, 12, written["entries"], {}, output)
    assert len(second.order) == 20
    assert document["runs"] == {"unchanged": 12, "slowed": 12}
    assert document["meets_aims"] is True


def test_a_trial_writes_after_each_run_and_makes_up_for_the_one_it_lost(tmp_path: Path) -> None:
    output = tmp_path / "trial.json"
    broken = FakeTrial()
    run = broken.run

    def dies(slowed: bool) -> dict[str, object]:
        if len(broken.order) == 3:
            raise KeyboardInterrupt
        return run(slowed)

    broken.run = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        go_on(broken, 2, [], {}, output)
    entries = json.loads(output.read_text(encoding="utf-8"))["entries"]
    assert [e["slowed"] for e in entries] == [False, True, True]
    rest = FakeTrial()
    assert go_on(rest, 2, entries, {}, output)["runs"] == {"unchanged": 2, "slowed": 2}
    assert rest.order == [False]


def test_runs_of_another_method_are_not_counted_with_new_ones(tmp_path: Path) -> None:
    output = tmp_path / "trial.json"
    facts = {"compared": "bundle", "model": "m", "image_size": 64, "method": {"rounds": 20}}
    assert held(output, facts) == []
    go_on(FakeTrial(), 1, [], facts, output)
    assert len(held(output, facts)) == 2
    with pytest.raises(UsageError, match=r"in another way \(method differ\)") as caught:
        held(output, {**facts, "method": {"rounds": 5}})
    assert "--resume" in caught.value.remedy
    older = {key: value for key, value in facts.items() if key != "compared"}
    go_on(FakeTrial(), 1, [], older, output)
    with pytest.raises(UsageError, match="compared differ"):
        held(output, facts)


def test_few_sittings_are_a_method() -> None:
    assert few(4).most == 8


def test_the_committed_simulation_meets_the_aims() -> None:
    document = json.loads((HERE / "simulation.json").read_text(encoding="utf-8"))
    assert set(document) == {"bundles", "stored"}
    for found in document.values():
        assert found["runs"] >= 200
        assert found["meets_aims"]
        assert found["method"] == simulate(1)["method"]
