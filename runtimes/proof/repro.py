"""A folder that shows a wrong pass to anybody with ONNX Runtime: two graphs, an input, a script."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.registry import attach_functions
from attnc.compiler.staging import staged_folder
from attnc.runtimes.proof.passes import Wrong

SCRIPT = '''"""Shows what the pass {name} changed: needs numpy and onnxruntime, not attnc."""
import numpy as np
import onnxruntime as ort

feeds = dict(np.load("inputs.npz"))
before, after = (
    ort.InferenceSession(name).run(None, feeds)[0] for name in ("before.onnx", "after.onnx")
)
print("largest difference:", np.abs(after - before).max(), "of", np.abs(before).max())
'''


def save_repro(wrong: Wrong, folder: Path) -> Path:
    """Write the folder, whole or not at all; returns it. UsageError if something is there."""
    with staged_folder(folder) as made:
        for name, model in (("before", wrong.before), ("after", wrong.after)):
            _save(model, made / f"{name}.onnx")
        np.savez(made / "inputs.npz", allow_pickle=False, **wrong.feeds)
        np.save(made / "expected.npy", wrong.expected)
        np.save(made / "got.npy", wrong.got)
        (made / "repro.py").write_text(SCRIPT.format(name=wrong.check.name), encoding="utf-8")
        text = json.dumps(wrong.check.as_json(), indent=2) + "\n"
        (made / "check.json").write_text(text, encoding="utf-8")
    return folder


def _save(model: ir.Model, path: Path) -> None:
    whole = model.clone()
    attach_functions(whole)
    ir.save(whole, path)
