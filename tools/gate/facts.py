"""What is known of a bundle without timing it: counters, parity with its source, accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from attnc.compiler.bundle import Bundle
from attnc.compiler.progress import Progress
from attnc.tools.gate.budget import Case
from attnc.tools.gate.counters import count

if TYPE_CHECKING:
    from attnc.runtimes.accuracy import Accuracy
    from attnc.runtimes.checks import Check, Report


@dataclass(frozen=True)
class Facts:
    """`wrong` names a check of `attnc verify` that failed; figures not asked for are None."""

    counters: Mapping[str, float]
    parity: float | None = None
    wrong: str = ""
    accuracy_drop: float | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict)
    drop_interval: tuple[float, float] | None = None
    note: str = ""  # what has to be said of the accuracy
    digest: str = ""  # of the bundle


def facts_of(case: Case, bundle: Bundle, root: Path, progress: Progress) -> Facts:
    """Count, and check what the case has a limit for. Raises what these raise."""
    progress.stage(f"counting: {case.label}")
    counters = count(bundle)
    parity, wrong = (None, "")
    if case.limits.parity is not None:
        parity, wrong = parity_of(verified(bundle, progress).checks)
    if case.limits.accuracy_drop is None:
        return Facts(counters, parity, wrong, digest=bundle.manifest.digest)
    found = _accuracy(case, bundle, root, progress)
    shares = {"top1": found.bundle.top1, "top5": found.bundle.top5}
    return Facts(
        counters=counters,
        parity=parity,
        wrong=wrong,
        accuracy_drop=found.drop,
        accuracy=shares,
        drop_interval=found.interval,
        note=found.note,
        digest=bundle.manifest.digest,
    )


def verified(bundle: Bundle, progress: Progress) -> Report:
    """The report of `attnc verify`."""
    from attnc.compiler.cli.api import rebuild_reference
    from attnc.runtimes.verify import verify

    if bundle.manifest.coreml is None:
        return verify(bundle, lambda: rebuild_reference(bundle), None, progress)
    from attnc.compiler.cli.coreml_twin import write_twin
    from attnc.compiler.source import rebuild
    from attnc.runtimes.coreml.verify import Source, verify_coreml

    source = Source(lambda: rebuild(bundle), lambda folder: write_twin(bundle, folder))
    return verify_coreml(bundle, source, None, progress)


def parity_of(checks: list[Check]) -> tuple[float | None, str]:
    """The largest relative error of any parity check, and the first check that failed."""
    failed = [check for check in checks if check.status == "failed"]
    wrong = f"{failed[0].name}: {failed[0].reason}" if failed else ""
    errors = [_error(c.name, c.value) for c in checks if "parity" in c.name and c.value is not None]
    return max(errors, default=None), wrong


def _error(name: str, value: float) -> float:
    """Core ML's programs in less than float32 are judged by cosines: what they lack to 1."""
    cosine = name.startswith("mlprogram.parity.") and ".fp32" not in name
    return 1 - value if cosine else value


def _accuracy(case: Case, bundle: Bundle, root: Path, progress: Progress) -> Accuracy:
    from attnc.compiler.cli.api import rebuild_reference
    from attnc.runtimes.accuracy_run import measure_accuracy
    from attnc.runtimes.dataset import DIGITS, open_dataset

    assert case.dataset is not None
    where = case.dataset if case.dataset == DIGITS else str(root / case.dataset)
    dataset = open_dataset(where, bundle.labels, progress)
    return measure_accuracy(bundle, lambda: rebuild_reference(bundle), dataset, progress)
