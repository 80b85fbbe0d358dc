"""Run by a test in a virtual environment of its own, where attnc is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parent))
from kernel_cases import all_cases

print(ort.__version__)
for name, case in all_cases(np.random.default_rng(int(sys.argv[2]))).items():
    for threads in (1, 2):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.register_custom_ops_library(sys.argv[1])
        session = ort.InferenceSession(case.model(), options, providers=["CPUExecutionProvider"])
        y = session.run(None, case.feeds())[0]
        error = case.error(y)
        assert error < 1e-5, (name, threads, error)
