"""The deep checks of `attnc verify`: after every pass, block by block, and what is selected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UnsupportedError, UsageError
from attnc.compiler.progress import Progress

if TYPE_CHECKING:
    from attnc.compiler.cli.proving import Depth
    from attnc.runtimes.checks import Check, Report
    from attnc.runtimes.proof.key_choices import KeyAgreement
    from attnc.runtimes.proof.passes import PassCheck


@dataclass(frozen=True)
class Wanted:
    """What was asked for; `repro` is a folder to write for a wrong pass."""

    passes: bool
    stages: bool
    repro: Path | None


def add_proof(bundle: Bundle, wanted: Wanted, report: Report, progress: Progress) -> dict[str, Any]:
    """Run them, add their checks to the report; entries for the JSON document.

    Raises UsageError if a repro folder is wished without passes.
    """
    from attnc.compiler.cli.proving import check_passes, look_into
    from attnc.runtimes.checks import Check

    found: dict[str, Any] = {}
    if wanted.repro is not None and not wanted.passes:
        raise UsageError("--repro is for a wrong pass", remedy="give --passes as well")
    if wanted.passes:
        try:
            checks, repro = check_passes(bundle, wanted.repro, progress)
        except (UnsupportedError, UsageError) as error:
            report.checks.append(Check("passes", "not-verified", reason=error.message))
        else:
            report.checks += [_pass_check(check) for check in checks]
            found["passes"] = [check.as_json() for check in checks]
            found["repro"] = str(repro) if repro else None
    if wanted.stages:
        try:
            depth = look_into(bundle, progress)
        except (UnsupportedError, UsageError) as error:
            report.checks.append(Check("stages", "not-verified", reason=error.message))
        else:
            report.checks += _depth_checks(depth)
            found |= depth.as_json()
    return found


def _pass_check(check: PassCheck) -> Check:
    from attnc.runtimes.checks import Check

    name = f"pass/{check.name}"
    if check.float64 is None:
        status: Any = "failed" if check.status == "failed" else "verified"
        return Check(name, status, reason=check.reason or "the graph is unchanged")
    reason = check.reason or f"{check.matches} places; float64 on the same inputs"
    status = "failed" if check.status == "failed" else "verified"
    return Check(name, status, check.float64.max_relative, check.limit64, reason)


def _depth_checks(depth: Depth) -> list[Check]:
    """Blocks inform; selections fail where a flip is no near-tie, or a forced one is still off."""
    from attnc.runtimes.checks import Check
    from attnc.runtimes.compare import RELATIVE_LIMIT

    checks = []
    for stage in depth.stages:
        m = stage.metrics
        if m is None:
            continue
        reason = f"cosine {m.cosine:.7f}, SQNR {m.sqnr_db:.0f} dB"
        checks.append(Check(f"stage/{stage.module}", "verified", m.max_relative, None, reason))
    for one in depth.selection:
        reason = f"Jaccard index of {one.kept} kept tokens; lead at the cut {one.margin:.1e}"
        if one.flipped:
            near = "a near-tie" if one.near else "no near-tie"
            reason += f"; {one.flipped} flipped, {near}"
        status: Any = "verified" if one.near else "failed"
        checks.append(Check(f"selection/stage{one.stage}", status, one.jaccard, None, reason))
    checks += [_key_check(layer) for layer in depth.keys]
    forced = (("selection", depth.forced), ("keys", depth.forced_keys))
    for name, error in forced:
        if error is not None:
            reason = f"with the source's {name} forced; {depth.free:.1e} without"
            status = "verified" if error <= RELATIVE_LIMIT else "failed"
            checks.append(Check(f"{name}/forced", status, error, RELATIVE_LIMIT, reason))
    return checks


def _key_check(one: KeyAgreement) -> Check:
    """The mean Jaccard index; fails where a query of a forced run keeps a key that is no near-tie.

    Where other tokens had been pruned before, it proves nothing.
    """
    from attnc.runtimes.checks import Check

    reason = (
        f"Jaccard index of {one.keep} kept keys, {one.queries} queries and heads; least lead at "
        f"the cut {one.margin:.1e}"
    )
    if one.flipped:
        reason += f"; {one.flipped} keep others"
    if one.forced_flipped:
        near = "near-ties" if one.explained else f"no near-ties: {one.gap:.1e} from the cut"
        reason += f"; {one.forced_flipped} behind forced layers, {near}"
    status: Any = "verified" if one.explained else "failed"
    if not one.comparable:
        status, reason = "not-verified", f"{reason}; other tokens had been pruned before"
    return Check(f"keys/{one.layer}", status, one.jaccard, None, reason)
