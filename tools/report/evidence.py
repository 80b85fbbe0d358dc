"""What `attnc verify --json` and `attnc bench --json` wrote, read for a report.

A file belongs to the bundle that it names; if several fit, files go to them in order, one each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.tools.report.document import (
    Accuracy,
    Against,
    CheckLine,
    Fact,
    Latency,
    Note,
    Runner,
    Session,
    Setting,
    Verification,
)
from attnc.tools.report.rounding import figures

MOST_FACTS, LONGEST_FACT = 200, 120
#: Parts of a verification that its checks tell as well, or that have a place of their own.
_ELSEWHERE = (
    *("ok", "checks", "bundle", "accuracy", "passes", "repro", "stages", "selection", "keys"),
    *("outputs", "output_units"),
)
_NAMES = ("digest", "model", "target", "profile", "precision")


def read_document(path: Path, key: str, command: str) -> dict[str, Any]:
    """A JSON document that has `key`. Raises UsageError if it is none of `command`'s."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path.name}: {error}", where=str(path)) from error
    if not isinstance(found, dict) or not isinstance(found.get(key), list):
        raise UsageError(
            f"{path.name} is no report of `{command}`",
            where=str(path),
            remedy=f"write one with `{command} BUNDLE --json FILE`",
        )
    return found


Documents = Sequence[tuple[Path, dict[str, Any]]]


def by_bundle(
    documents: Documents, bundles: Sequence[Bundle]
) -> list[list[tuple[Path, dict[str, Any]]]]:
    """The documents of each bundle. Raises UsageError for one that fits none, or not clearly one.

    Documents that could each be about the same several bundles are theirs in order, if they are as
    many; nothing is guessed.
    """
    held: list[list[tuple[Path, dict[str, Any]]]] = [[] for _ in bundles]
    unclear: dict[tuple[int, ...], list[tuple[Path, dict[str, Any]]]] = {}
    for path, document in documents:
        fitting = tuple(place for place, bundle in enumerate(bundles) if _fits(document, bundle))
        if not fitting:
            raise _stranger(path, document)
        if len(fitting) == 1:
            held[fitting[0]].append((path, document))
        else:
            unclear.setdefault(fitting, []).append((path, document))
    for fitting, several in unclear.items():
        if len(several) != len(fitting):
            raise _ambiguous(several, [bundles[place] for place in fitting])
        for place, one in zip(fitting, several, strict=True):
            held[place].append(one)
    return held


def _stranger(path: Path, document: Mapping[str, Any]) -> UsageError:
    named = ", ".join(f"{name} {value}" for name, value in _claims(document).items())
    return UsageError(
        f"{path.name} is about none of these bundles ({named})",
        where=str(path),
        remedy="name its bundle too, or leave the file out",
    )


def _ambiguous(documents: Documents, bundles: Sequence[Bundle]) -> UsageError:
    files = ", ".join(path.name for path, _ in documents)
    return UsageError(
        f"{files} could be about any of {', '.join(bundle.path.name for bundle in bundles)}",
        remedy="give a file for each of them, in their order, or report on one bundle",
    )


def _claims(document: Mapping[str, Any]) -> dict[str, str]:
    """What a document says of its bundle, at the top or in a part of that name."""
    inner = document.get("bundle")
    places = [document, inner if isinstance(inner, dict) else {}]
    return {
        name: place[name] for place in places for name in _NAMES if isinstance(place.get(name), str)
    }


def _fits(document: Mapping[str, Any], bundle: Bundle) -> bool:
    return all(getattr(bundle.manifest, name) == value for name, value in _claims(document).items())


def verification(origin: str, document: Mapping[str, Any]) -> Verification:
    """The report of `attnc verify` as a part of ours."""
    checks = tuple(_check(entry) for entry in document["checks"] if isinstance(entry, dict))
    statuses = [check.status for check in checks]
    verified, failed = statuses.count("verified"), statuses.count("failed")
    rest = {key: value for key, value in document.items() if key not in _ELSEWHERE}
    return Verification(
        origin=origin,
        ok=bool(document.get("ok", failed == 0 and verified > 0)),
        verified=verified,
        failed=failed,
        not_run=len(statuses) - verified - failed,
        checks=checks,
        accuracy=_accuracy(document.get("accuracy")),
        facts=tuple(_facts("", rest)[:MOST_FACTS]),
    )


def _check(entry: Mapping[str, Any]) -> CheckLine:
    return CheckLine(
        name=str(entry.get("name", "")),
        status=str(entry.get("status", "")),
        value=_number(entry.get("value")),
        limit=_number(entry.get("limit")),
        reason=str(entry.get("reason") or ""),
    )


def _accuracy(found: Any) -> Accuracy | None:
    """The entry "accuracy" of a verification; None without one, or if it is of another make."""
    if not isinstance(found, dict) or not isinstance(found.get("bundle"), dict):
        return None
    source = found.get("source") or {}
    low, high = found.get("interval") or (None, None)
    bundle_top1, bundle_top5 = (_percent(found["bundle"].get(key)) for key in ("top1", "top5"))
    if bundle_top1 is None or bundle_top5 is None:
        return None
    return Accuracy(
        dataset=str(found.get("dataset", "")),
        pictures=int(found.get("pictures", 0)),
        ran=str(found.get("mode", "")),
        bundle_top1=bundle_top1,
        bundle_top5=bundle_top5,
        source_top1=_percent(source.get("top1")),
        source_top5=_percent(source.get("top5")),
        agreement=_percent(found.get("agreement")),
        drop=_percent(found.get("drop")),
        drop_low=_percent(low),
        drop_high=_percent(high),
        drop_limit=_percent(found.get("limit")),
        confidence=_percent(found.get("confidence")),
        note=str(found.get("note") or ""),
    )


def _percent(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return round(100 * float(value), 2) if number and math.isfinite(value) else None


def _number(value: Any) -> float | None:
    """A finite number, rounded; None for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return figures(float(value)) if plain and math.isfinite(value) else None


def _facts(path: str, value: Any) -> list[Fact]:
    """Single figures of a document, by their paths; lists of more than a few are left out."""
    if isinstance(value, dict):
        return [
            fact
            for key, inner in value.items()
            for fact in _facts(f"{path}/{key}" if path else str(key), inner)
        ]
    if isinstance(value, list):
        if len(value) > 8:
            return []
        return [
            fact for place, inner in enumerate(value) for fact in _facts(f"{path}/{place}", inner)
        ]
    if value is None or (isinstance(value, str) and len(value) > LONGEST_FACT):
        return []
    if isinstance(value, float) and not math.isfinite(value):
        return []
    return [Fact(name=path, value=figures(value, 4) if isinstance(value, float) else value)]


def latency(origin: str, document: Mapping[str, Any]) -> Latency:
    """The report of `attnc bench` as a part of ours. Raises UsageError if a row lacks a field."""
    try:
        rows = [row for row in document["results"] if row.get("samples_ms")]
        keys = dict.fromkeys(_key(row) for row in rows)
        settings = tuple(_setting(key, rows) for key in keys)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{origin} is a report of another benchmark: {error}",
            remedy="write one with `attnc bench BUNDLE --json FILE`",
        ) from error
    return Latency(
        origin=origin,
        machine=_machine(document),
        interval=str(document.get("method", {}).get("interval", "")),
        settings=settings,
        sessions=tuple(_session(row) for row in document.get("footprint") or ()),
        left_out=tuple(
            Note(about=str(miss.get("runner", "")), reason=str(miss.get("reason", "")))
            for miss in document.get("left_out") or ()
        ),
    )


def _key(row: Mapping[str, Any]) -> tuple[int, int | None, str]:
    """What the runners of a setting share; GPUs have modes of calling in place of threads."""
    return row.get("batch", 1), row.get("threads"), str(row.get("mode") or "")


def _setting(key: tuple[int, int | None, str], rows: Sequence[Mapping[str, Any]]) -> Setting:
    held = [row for row in rows if _key(row) == key]
    ratios = [
        Against(
            runner=name,
            ratio=figures(ratio),
            low=figures(row["ratio_interval"][name][0]),
            high=figures(row["ratio_interval"][name][1]),
        )
        for row in held
        for name, ratio in row.get("ratio_to", {}).items()
        if name in row.get("ratio_interval", {})
    ]
    runners = tuple(_runner(row) for row in held)
    batch, threads, mode = key
    return Setting(batch=batch, threads=threads, mode=mode, runners=runners, ratios=tuple(ratios))


def _runner(row: Mapping[str, Any]) -> Runner:
    samples = [float(sample) for sample in row["samples_ms"]]
    if not np.isfinite(samples).all():
        raise ValueError("a sample is not finite")
    least, low, median, high, p90, p99, most = (
        figures(float(np.percentile(samples, at))) for at in (0, 25, 50, 75, 90, 99, 100)
    )
    return Runner(
        runner=str(row["runner"]),
        median_ms=median,
        p90_ms=p90,
        p99_ms=p99,
        quarter_ms=low,
        three_quarters_ms=high,
        least_ms=least,
        most_ms=most,
        n=len(samples),
        samples_ms=tuple(figures(sample, 4) for sample in samples),
    )


def _session(row: Mapping[str, Any]) -> Session:
    return Session(
        runner=str(row["runner"]),
        create_ms=figures(row["create_ms"]),
        peak_mb=_number(row.get("peak_mb")),
        n=int(row.get("n", 1)),
    )


def _machine(document: Mapping[str, Any]) -> str:
    info = document.get("machine") or document.get("device") or {}
    if not isinstance(info, dict):
        return str(info)
    versions = info.get("versions") or {}
    parts = [
        info.get("cpu") or info.get("gpu"),
        f"{info['cores']} cores" if "cores" in info else "",
    ]
    parts += [f"{name} {version}" for name, version in versions.items()]
    return ", ".join(str(part) for part in parts if part)
