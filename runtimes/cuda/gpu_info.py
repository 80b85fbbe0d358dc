"""What a figure of a GPU is worth without: its name, driver, clocks, temperature and power."""

from __future__ import annotations

import shutil
import subprocess

_FIELDS = (
    "name",
    "driver_version",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "temperature.gpu",
    "power.draw",
    "power.limit",
    "utilization.gpu",
)


def gpu_state() -> dict[str, str]:
    """What `nvidia-smi` says of the first GPU, in MHz, degrees and watts; empty without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    query = [f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            [tool, *query], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return {}
    values = [value.strip() for value in lines[0].split(",")]
    return {name: value for name, value in zip(_FIELDS, values, strict=False) if value[:1] != "["}
