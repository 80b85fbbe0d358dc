"""The kernel library with faults that an environment variable switches on, from a patched copy.

Each is a line of the real sources with a slip that people make; nothing of it is shipped.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from attnc.runtimes.cpu import build

VARIABLE = "ATTNC_FAULT"
DECLARATION = f'''
#include <stdlib.h>
static inline bool fault(char which) {{
  const char* wanted = getenv("{VARIABLE}");
  return wanted && wanted[0] == which;
}}
'''


@dataclass(frozen=True)
class Fault:
    """`key` is the variable's value; in `file` the text `right` becomes `wrong`."""

    key: str
    said: str
    file: str
    right: str
    wrong: str


FAULTS = (
    Fault(
        "r",
        "off by one row",
        "linear.h",
        "a.y + row * a.n, a.n, rows,",
        "a.y + row * a.n, a.n, rows - (rows > 1 && fault('r')),",
    ),
    Fault(
        "b",
        "missing bias",
        "linear.h",
        "a.bias, a.residual ? a.residual + row * a.n : nullptr",
        "fault('b') ? nullptr : a.bias, a.residual ? a.residual + row * a.n : nullptr",
    ),
    Fault(
        "s",
        "wrong scale",
        "attention_heads.h",
        "return a.scale * 1.44269504f;",
        "return a.scale * (fault('s') ? 1.5f : 1.44269504f);",
    ),
    Fault(
        "p",
        "stale padding",
        "depthwise.h",
        "alignas(64) const float zeros[W] = {};",
        "alignas(64) float zeros[W] = {}; if (fault('p')) zeros[0] = zeros[W - 1] = 0.5f;",
    ),
)


def build_faulty(folder: Path) -> Path:
    """The library for this machine. Fails if a line of the sources is no longer there."""
    from attnc.runtimes.cpu.library import host_target

    sources = Path(shutil.copytree(build.SOURCES, folder / "src"))
    header = sources / "kernels.h"
    header.write_text(header.read_text().replace("#pragma once", f"#pragma once\n{DECLARATION}", 1))
    assert "fault(char" in header.read_text()
    for fault in FAULTS:
        path = sources / fault.file
        text = path.read_text()
        assert text.count(fault.right) == 1, f"{fault.file} has changed: {fault.right}"
        path.write_text(text.replace(fault.right, fault.wrong))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SOURCES", sources)
        return build.build(host_target(), output=folder / "lib")
