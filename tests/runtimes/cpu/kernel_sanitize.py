"""Run by a test under a preloaded sanitizer runtime: all cases on all instruction sets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from kernel_cases import all_cases
from kernel_harness import Harness
from low_cases import limit, low_cases
from registry_cases import registry_cases

from attnc.runtimes.cpu.library import cpu_features, cpu_sets

for isa in cpu_features():
    rng = np.random.default_rng(1)
    for name, case in (all_cases(rng) | registry_cases(rng)).items():
        status, y = Harness(Path(sys.argv[1]), isa).call(case, offset=1)
        error = case.error(y)
        assert (status, error < 1e-5) == (0, True), (isa, name, status, error)
for isa in cpu_sets():
    rng = np.random.default_rng(2)
    for name, case in low_cases(rng).items():
        status, y = Harness(Path(sys.argv[1]), isa).call(case, offset=1)
        error = case.error(y)
        assert (status, error <= limit(case, isa)) == (0, True), (isa, name, status, error)
