"""Run every model of a folder on the inputs beside it; needs ONNX Runtime and NumPy only.

python run_folder.py FOLDER [LIBRARY]: reads NAME.onnx or NAME.ort and NAME.npz, writes
NAME.out.npz (o0, o1, ...).
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

folder, libraries = Path(sys.argv[1]), sys.argv[2:]
for model in sorted([*folder.glob("*.onnx"), *folder.glob("*.ort")]):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    for library in libraries:
        options.register_custom_ops_library(library)
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    feeds = dict(np.load(model.with_suffix(".npz")))
    outputs = {f"o{i}": value for i, value in enumerate(session.run(None, feeds))}
    np.savez(model.with_suffix(".out.npz"), **outputs)
