"""Run by a test under a preloaded sanitizer runtime: all cases in fp32, and the large ones."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from test_kernels import CASES, assert_right, example_of, large_example

from attnc.compiler.ops import registry
from attnc.runtimes.cuda.host import run_on_host
from attnc.runtimes.cuda.kernels import KERNELS

library = Path(sys.argv[1])
for case in CASES:
    kernel, index = case.values
    assert_right(kernel, *example_of(kernel, index), "fp32", library)
for kernel in KERNELS:
    example = large_example(kernel.operator)
    found = run_on_host(kernel, "fp32", example.inputs, example.attributes, library)
    assert len(found) == len(registry.get(kernel.operator).outputs)
