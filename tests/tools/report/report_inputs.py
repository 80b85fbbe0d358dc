"""Reports of verifications and benchmarks as the commands write them, for a report to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

CHECKS = [
    {"name": "parity/recorded-seed0/kernels", "status": "verified", "value": 2.3456e-6,
     "limit": 1e-4, "reason": ""},
    {"name": "parity/recorded-seed1/bodies", "status": "failed", "value": 0.0123,
     "limit": 1e-4, "reason": "the relative error is over the limit"},
    {"name": "photographs", "status": "not-verified", "value": None, "limit": None,
     "reason": "no photographs"},
]  # fmt: skip
ACCURACY = {
    "dataset": "digits",
    "pictures": 450,
    "mode": "kernels",
    "precision": "fp32",
    "bundle": {"top1": 0.9778, "top5": 1.0},
    "source": {"top1": 0.98, "top5": 1.0},
    "agreement": 0.9956,
    "drop": 0.0022,
    "interval": [-0.0061, 0.0125],
    "confidence": 0.95,
    "limit": 0.0,
}


def verified(**fields: Any) -> dict[str, Any]:
    """What `attnc verify --dataset digits --json` writes."""
    return {"ok": False, "checks": CHECKS, "accuracy": ACCURACY, "passes": [], **fields}


def timed(**fields: Any) -> dict[str, Any]:
    """What `attnc bench --json` writes, of two thread counts."""
    rng = np.random.default_rng(3)
    rows = []
    for threads in (1, 2):
        rows += [
            _row("attnc", threads, rng, {"ort": 0.7512}, {"ort": [0.7011, 0.8123]}),
            _row("ort", threads, rng, {}, {}),
        ]
    return {
        "results": rows,
        "left_out": [{"runner": "openvino", "reason": "openvino is not installed"}],
        "footprint": [
            {"runner": "attnc", "threads": 1, "create_ms": 30.123, "peak_mb": None, "n": 1}
        ],
        "machine": {"cpu": "some CPU", "cores": 2, "versions": {"onnxruntime": "1.32.0"}},
        "method": {"interval": "bootstrap, 95 %"},
        **fields,
    }


def _row(
    runner: str, threads: int, rng: np.random.Generator, ratio: dict[str, Any], around: Any
) -> dict[str, Any]:
    samples = (3 + rng.random(30)).round(4).tolist()
    return {
        "runner": runner,
        "threads": threads,
        "batch": 1,
        "ratio_to": ratio,
        "ratio_interval": around,
        "samples_ms": samples,
    }


def written(path: Path, document: Any) -> Path:
    """The document in a file."""
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
