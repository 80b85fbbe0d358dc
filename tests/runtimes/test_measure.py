"""Samples are taken in turn, in child processes of which none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from attnc.compiler.errors import AttncError, MissingRuntimeError
from attnc.compiler.seeded_input import seeded_input
from attnc.runtimes.bench_child import settle
from attnc.runtimes.bench_process import processes
from attnc.runtimes.measure import Effort, Taken, measure
from attnc.runtimes.request import Files, Request

pytestmark = pytest.mark.usefixtures("importable_data")

INTERRUPTED = """
import sys
from attnc.runtimes.bench_process import processes
from attnc.runtimes.request import Files, Request
sys.path.insert(0, sys.argv[1])
files = Files(sys.argv[2], "")
with processes([Request("a", "fake_runners:sleeps", files, n, (1,)) for n in (1, 2)]) as both:
    for process in both:
        process._send({"do": "warm-up", "calls": 1})
    both[0]._receive()
"""


def request(factory: str, mark: int = 1, log: Path = Path("no log")) -> Request:
    return Request("fake", f"fake_runners:{factory}", Files(str(log), ""), mark, (1, 4), seed=3)


def test_turns_alternate_and_the_first_calls_of_each_are_not_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with processes([request("logs", mark, log) for mark in (1, 2)]) as both:
        outputs = [process.warm_up(2) for process in both]
        taken = measure(both, Effort(rounds=3, burst=2, lead_in=1))
    for output in outputs:
        assert np.array_equal(output, seeded_input((1, 4), 3))
    assert [len(part.samples) for part in taken] == [6, 6]
    assert all(sample > 0 for part in taken for sample in part.samples)
    assert log.read_text() == "1122" + "111222" + "222111" + "111222" + "--"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1000.0, Effort()),
        (60.0, Effort(burst=2)),
        (30.0, Effort(burst=1, lead_in=1)),
        (12.0, Effort(rounds=2, burst=1, lead_in=1)),
        (0.1, Effort(rounds=2, burst=1, lead_in=1)),
    ],
)
def test_effort_shrinks_to_a_budget(seconds: float, expected: Effort) -> None:
    assert Effort().within(seconds, 1.0) == expected


def test_a_turn_that_does_not_come_to_rest_is_counted() -> None:
    class Restless:
        def turn(self, lead_in: int, burst: int) -> tuple[list[float], bool]:
            return [1.0] * burst, False

    assert measure([Restless()], Effort(rounds=2, burst=3)) == [Taken([1.0] * 6, 2)]


def test_a_process_that_computes_is_not_at_rest() -> None:
    burn = "import threading\ndef burn():\n    while True: pass\n"
    burn += "threading.Thread(target=burn, daemon=True).start()\n"
    code = burn + "from attnc.runtimes.bench_child import settle\nassert not settle(0.2, 0.05)\n"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert settle(5.0, 0.05)


def test_errors_of_a_child_are_raised_here() -> None:
    with (
        pytest.raises(MissingRuntimeError, match="no abacus") as caught,
        processes([request("logs"), request("not_here")]),
    ):
        pass
    assert (caught.value.where, caught.value.remedy) == ("the desk", "buy one")
    with pytest.raises(AttncError, match=r"^fake failed: RuntimeError: out of beads$"):
        warm("raises")
    with pytest.raises(AttncError, match=r"^fake failed: AttributeError"):
        warm("no_such_runner")


def warm(factory: str) -> None:
    with processes([request(factory)]) as (process,):
        process.warm_up(1)


def test_a_child_that_dies_is_told_with_its_last_words() -> None:
    with pytest.raises(AttncError, match=r"ran fake ended with exit code 7: last words$"):
        warm("dies")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_leaves_no_child_behind(tmp_path: Path) -> None:
    data = Path(__file__).resolve().parent.parent / "data"
    log = tmp_path / "log"
    log.touch()
    command = [sys.executable, "-c", INTERRUPTED, str(data), str(log)]
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # deaf in a background job
    parent = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        preexec_fn=hear,  # noqa: PLW1509 (no threads are running)
    )
    try:
        wait_until(lambda: log.read_text().count("\n") == 2)
        children = [int(line) for line in log.read_text().split()]
        assert all(alive(child) for child in children)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(60) != 0
        assert not any(alive(child) for child in children)
    finally:
        parent.kill()
        parent.communicate()


def wait_until(reached: Callable[[], bool]) -> None:
    for _ in range(600):
        if reached():
            return
        time.sleep(0.1)
    raise AssertionError("waited for a minute")


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
