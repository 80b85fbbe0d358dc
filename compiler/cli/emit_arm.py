"""Android phones and arm64 boards: what the CPU target writes, and the model in ORT format.

The conversion needs this machine's own kernel library; the bundle holds the device's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from attnc.compiler.cli.emitting import CpuEmitter, Emitted, Labels
from attnc.compiler.errors import UsageError
from attnc.compiler.progress import Progress

if TYPE_CHECKING:
    from attnc.compiler.trace.traced import TracedModel
    from attnc.targets.cpu.fewer_bits import Precision
    from attnc.targets.profile import Profile

#: The machines that each target's devices are.
PLATFORMS = {"android": "android-aarch64", "arm64": "linux-aarch64"}


class ArmEmitter(CpuEmitter):
    """See `Emitter`."""

    stage = "packing the weights, converting to ORT format"

    def __init__(self, profile: Profile, kernels: bool, precision: Precision = "fp32") -> None:
        from attnc.runtimes.cpu.library import library_path

        super().__init__(profile, kernels, measure=False, precision=precision)
        check_platforms(profile, tuple(self.libraries))
        self.own = library_path() if kernels else None

    def emit(
        self, traced: TracedModel, folder: Path, progress: Progress, labels: Labels = None
    ) -> Emitted:
        """As for the CPU; then the same model once more, for builds that read ORT format only."""
        from attnc.runtimes.ort_format import write_ort_format

        emitted = super().emit(traced, folder, progress, labels)
        entry = write_ort_format(folder, self.own)
        return replace(emitted, fields={**emitted.fields, "ort_format": entry})


def check_platforms(profile: Profile, platforms: tuple[str, ...]) -> None:
    """Raise UsageError for kernels that the target's devices cannot load."""
    wanted = PLATFORMS[profile.target]
    for platform in platforms:
        if platform != wanted:
            raise UsageError(
                f"profile {profile.name} is for target {profile.target} and asks for kernels for "
                f"{platform}",
                remedy=f'write platforms = ["{wanted}"]',
            )
