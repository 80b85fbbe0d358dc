"""Each fusion earns its place: the export times it against its own body and keeps the faster.

What was found is kept in the user's cache, per operator, shape, processor and kernel library, so
that the same machine always decides the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.bundle import file_sha256
from attnc.compiler.cache import cache_folder
from attnc.compiler.manifest import Verdict
from attnc.compiler.ops.alone import Alone, alone
from attnc.compiler.progress import Progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from attnc.runtimes.earning import Timing
    from attnc.targets.profile import Profile

MEASURE_VARIABLE = "ATTNC_MEASURE"


@dataclass
class Judge:
    """Decides for each fused operator; `reason` is why nothing is measured, or empty."""

    library: Path | None
    reason: str
    progress: Progress
    _timings: dict[str, Timing] = field(default_factory=dict)
    _seen: dict[str, Alone] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def keeps(self, node: ir.Node) -> bool:
        """Whether a lowered node stays fused; its shapes are looked up or measured once."""
        lone = alone(node)
        if lone is None:
            return True
        self._counts[lone.key] += 1
        if lone.key not in self._seen:
            self._seen[lone.key] = lone
            if not self.reason:
                self._timings[lone.key] = self._timed(lone)
        timing = self._timings.get(lone.key)
        return timing is None or timing.fused

    def verdicts(self) -> tuple[Verdict, ...]:
        """For the manifest: the same on every export of the same machine."""
        found = [
            Verdict(
                operator=lone.node.op_type,
                shapes=lone.label,
                nodes=self._counts[key],
                verdict=self._verdict(key),
                reason=self.reason,
            )
            for key, lone in self._seen.items()
        ]
        return tuple(found)

    def readings(self) -> list[dict[str, Any]]:
        """The times, which lie beside the manifest."""
        return [
            {
                "operator": self._seen[key].node.op_type,
                "shapes": self._seen[key].label,
                "fused_us": timing.fused_us,
                "body_us": timing.body_us,
            }
            for key, timing in self._timings.items()
        ]

    def _verdict(self, key: str) -> Any:
        if key not in self._timings:
            return "not measured"
        return "fused" if self._timings[key].fused else "body"

    def _timed(self, lone: Alone) -> Timing:
        from attnc.runtimes.earning import Timing, time_forms

        assert self.library is not None
        name = hashlib.sha256((lone.key + _machine(self.library)).encode()).hexdigest()
        held = cache_folder() / "verdicts" / f"{name}.json"
        try:
            return Timing(**json.loads(held.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            timing = time_forms(lone.serialized(), lone.inputs, self.library)
        _keep(held, timing)
        self.progress.advance()
        return timing


def judge(
    profile: Profile, libraries: dict[str, Path], measure: bool | None, progress: Progress
) -> Judge:
    """The judge of an export for `profile`; `measure` None follows the environment."""
    from attnc.runtimes.cpu.library import host_target

    if measure is None:
        measure = os.environ.get(MEASURE_VARIABLE, "1") != "0"
    reason = ""
    if not libraries:
        reason = "the bundle has no kernels"
    elif profile.target != "cpu":
        reason = f"profile {profile.name} is for another machine"
    elif set(libraries) != {host_target()}:
        reason = f"profile {profile.name} is for other machines too"
    elif not measure:
        reason = "measuring was switched off"
    library = None if reason else libraries[host_target()]
    return Judge(library, reason, progress)


@cache
def _machine(library: Path) -> str:
    """The processor, the instruction set that is asked for, the kernel library, the runtime."""
    from attnc.runtimes.machine import machine_info

    info = machine_info()
    return "\n".join(
        [
            file_sha256(library),
            info["cpu"],
            " ".join(info["features"]),
            os.environ.get("ATTNC_CPU_ISA", ""),
            info["versions"].get("onnxruntime", ""),
        ]
    )


def _keep(path: Path, timing: Timing) -> None:
    """Write to the cache; a cache that cannot be written is no reason to fail."""
    from attnc.compiler.errors import UsageError
    from attnc.compiler.staging import write_text

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(timing)))
    except (OSError, UsageError):
        return
