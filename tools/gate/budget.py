"""The budget file: which models are gated, at which settings, with which limits.

TOML, closed: an unknown key, a wrong type or a limit that its target cannot meet is refused with
the key's full name, so that a misspelt limit never passes silently.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PositiveInt, ValidationError, model_validator

from attnc.compiler.errors import UsageError
from attnc.compiler.manifest_parts import Part

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Target = Literal["cpu", "tensorrt", "coreml", "web", "android", "arm64"]

#: Limits that need the bundle to be timed, which happens for the target `cpu` only.
TIMED = ("latency_ms", "p99_ms", "latency_ratio", "ratio_to", "start_up_ms", "peak_mb")
#: Targets whose bundles are not run by the gate at all, so neither parity nor accuracy is known.
NOT_RUN = ("tensorrt",)
Counter = Literal["nodes", "kernels", "flops", "traffic_bytes", "model_bytes", "file_bytes"]
#: Limits that are upper bounds, compared exactly.
COUNTERS: tuple[Counter, ...] = get_args(Counter)


class Limits(Part):
    """What a case may take at most; `fused_share` is the only lower bound."""

    latency_ms: Positive | None = None
    p99_ms: Positive | None = None
    latency_ratio: Positive | None = None
    ratio_to: dict[str, Positive] = Field(default={})
    start_up_ms: Positive | None = None
    peak_mb: Positive | None = None
    accuracy_drop: Share | None = None
    parity: Positive | None = None
    nodes: int | None = Field(default=None, ge=0)
    kernels: int | None = Field(default=None, ge=0)
    flops: int | None = Field(default=None, ge=0)
    traffic_bytes: int | None = Field(default=None, ge=0)
    model_bytes: int | None = Field(default=None, ge=0)
    file_bytes: int | None = Field(default=None, ge=0)
    fused_share: float | None = Field(default=None, ge=0, le=1)

    def timed(self) -> tuple[str, ...]:
        """The limits that are set and need the bundle to be timed."""
        return tuple(name for name in TIMED if getattr(self, name))


class Case(Part):
    """One model (or bundle) at one setting, and its limits."""

    name: str = Field(default="", max_length=120)
    model: str | None = None
    bundle: str | None = None
    target: Target = "cpu"
    profile: str | None = None
    precision: str | None = None
    threads: PositiveInt = 1
    batch: PositiveInt | None = None
    image_size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    num_classes: PositiveInt | None = None
    checkpoint: str | None = None
    seed: int = Field(default=0, ge=0)
    options: dict[str, Any] = Field(default={})
    dataset: str | None = None
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _fits_together(self) -> Case:
        if (self.model is None) == (self.bundle is None):
            raise ValueError("give `model` or `bundle`, one of the two")
        if self.bundle is not None:
            for key in ("profile", "precision", "image_size", "num_classes", "checkpoint"):
                if getattr(self, key) is not None:
                    raise ValueError(f"`{key}` is settled in a bundle; it goes with `model` only")
        if self.target != "cpu" and (timed := self.limits.timed()):
            raise ValueError(
                f"`limits.{timed[0]}` is for target cpu; bundles for {self.target} are counted, "
                "not timed"
            )
        if self.target in NOT_RUN and (self.limits.parity or self.limits.accuracy_drop is not None):
            raise ValueError(f"the gate does not run bundles for {self.target}: no parity limit")
        if self.limits.accuracy_drop is not None and self.dataset is None:
            raise ValueError("`limits.accuracy_drop` needs a `dataset`")
        return self

    @property
    def label(self) -> str:
        """The name of the case: its own, or one made of its settings."""
        if self.name:
            return self.name
        what = self.model or Path(self.bundle or "").name
        parts = [what, self.target]
        if self.profile:
            parts.append(self.profile)
        if self.precision:
            parts.append(self.precision)
        if self.image_size:
            size = self.image_size
            parts.append(f"{size}" if isinstance(size, int) else f"{size[0]}x{size[1]}")
        if self.batch and self.batch != 1:
            parts.append(f"b{self.batch}")
        if self.target == "cpu" and self.threads != 1:
            parts.append(f"t{self.threads}")
        return "/".join(parts)

    def settings(self) -> dict[str, Any]:
        """All that has to be equal for figures to be comparable: the case without its limits."""
        return self.model_dump(mode="json", exclude={"name", "limits", "dataset"})


class Method(Part):
    """How much is measured and what a change has to be; see docs/gate.md for where it comes from.

    Sittings (fresh processes) are added by `step` from `sittings` up to `most` until each question
    is decided: a slow-down is over if all of its interval lies above `margin`, and ruled out if all
    of it lies below `rule_out`.
    """

    sittings: int = Field(default=8, ge=3)
    step: PositiveInt = 4
    most: PositiveInt = 40
    baseline_sittings: int = Field(default=40, ge=3)
    rounds: PositiveInt = 20
    burst: PositiveInt = 5
    seconds: Positive | None = 60
    margin: float = Field(default=0.03, ge=0)
    rule_out: float = Field(default=0.07, gt=0)
    repeats: int = Field(default=5, ge=3)
    relative: tuple[Literal["latency", "counters", "start_up", "peak"], ...] = (
        "latency",
        "counters",
    )
    start_up_margin: float = Field(default=0.25, ge=0)
    allow: dict[Counter, Share] = Field(default={})

    @model_validator(mode="after")
    def _ordered(self) -> Method:
        if self.most < self.sittings:
            raise ValueError("`most` is less than `sittings`")
        if self.rule_out <= self.margin:
            raise ValueError("`rule_out` has to be more than `margin`")
        return self


class Budgets(Part):
    """The whole file: `[gate]` and a list of `[[case]]`."""

    gate: Method = Method()
    case: tuple[Case, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Budgets:
        seen: set[str] = set()
        for case in self.case:
            if case.label in seen:
                raise ValueError(f"two cases are called {case.label!r}; give them a `name`")
            seen.add(case.label)
        return self


def load_budgets(path: Path) -> Budgets:
    """Read and check a budget file. Raises UsageError naming the key that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the budget file: {error}",
            where=str(path),
            remedy="docs/gate.md has one to begin with",
        ) from error
    try:
        return Budgets.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the budget file is no TOML: {error}", where=str(path)) from error
    except ValidationError as error:
        raise UsageError(_first_wrong(error), where=_place(path, text, error)) from error


def _first_wrong(error: ValidationError) -> str:
    """`case[1].limits.latency_ms: Input should be greater than 0`."""
    first = error.errors()[0]
    key = _key_of(first["loc"])
    said = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        said = "there is no such key"
    return f"{key}: {said}" if key else said


def _key_of(place: tuple[int | str, ...]) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _place(path: Path, text: str, error: ValidationError) -> str:
    place = error.errors()[0]["loc"]
    if len(place) > 1 and place[0] == "case" and isinstance(place[1], int):
        return f"{path}:{case_line(text, place[1])}"
    return str(path)


def case_line(text: str, index: int) -> int:
    """The line of the `index`-th `[[case]]`, from 1; 1 if the file writes its cases otherwise."""
    heads = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r"\s*\[\[\s*case\s*\]\]", line)
    ]
    return heads[index] if index < len(heads) else 1


def json_schema() -> dict[str, Any]:
    """The JSON schema of the budget file."""
    return Budgets.model_json_schema()
