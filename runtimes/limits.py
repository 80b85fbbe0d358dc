"""How far a bundle may be from its source, by target and precision: one table, and what overrides
it for a model. Models that choose, and plain exports that are off themselves, widen these where
they are applied, with the reason in the report.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.compiler.manifest_parts import Part, first_fault


@dataclass(frozen=True)
class Limits:
    """`relative`: max |a - b| / max |b| of the outputs; `cosine`: the least of them, where outputs
    of that precision are judged so; `drop`: of top-1 accuracy, beyond doubt."""

    relative: float
    drop: float
    cosine: float | None = None


ANY = "*"
#: Weights rounded to float16 (2^-11 each) moved the logits of SHViT, EViT and GLNet by up to 6e-3;
#: rows and weights rounded to bytes those of SHViT by up to 2e-2 and of EViT by up to 5e-2;
#: float32 may cost no accuracy beyond noise, the others about what their papers and makers promise.
TABLE: dict[tuple[str, str], Limits] = {
    (ANY, "fp32"): Limits(1e-4, 0.0),
    (ANY, "fp16w"): Limits(1e-2, 0.002),
    (ANY, "fp16"): Limits(1e-2, 0.002),
    (ANY, "bf16"): Limits(5e-2, 0.01),
    (ANY, "int8"): Limits(1e-1, 0.01),
    ("coreml", "fp16"): Limits(2e-2, 0.002, 0.9999),
    ("coreml", "int8w"): Limits(2e-2, 0.005, 0.999),
    ("coreml", "pal8w"): Limits(2e-2, 0.005, 0.999),
    ("coreml", "pal6w"): Limits(2e-2, 0.01, 0.99),
    ("coreml", "pal4w"): Limits(2e-2, 0.05, 0.9),
}


class Override(Part):
    """One entry of a limits file; what is left out holds for all, or stays as in the table."""

    model: str
    target: str | None = None
    precision: str | None = None
    relative: float | None = Field(default=None, gt=0)
    cosine: float | None = Field(default=None, gt=0, le=1)
    drop: float | None = Field(default=None, ge=0, le=1)

    def is_for(self, model: str, target: str, precision: str) -> bool:
        """Whether it speaks of this bundle."""
        wanted = (self.model, self.target or target, self.precision or precision)
        return wanted == (model, target, precision)


class _File(Part):
    limits: tuple[Override, ...]


_OVERRIDES: ContextVar[tuple[Override, ...]] = ContextVar("overrides", default=())


def limits_of(bundle: Bundle, precision: str | None = None) -> Limits:
    """The limits for a bundle, or for another precision of it."""
    manifest = bundle.manifest
    held = precision or manifest.precision
    found = table_limits(manifest.target, held)
    for override in _OVERRIDES.get():
        if override.is_for(manifest.model, manifest.target, held):
            given = override.model_dump(include={"relative", "cosine", "drop"}, exclude_none=True)
            found = Limits(**{**vars(found), **given})
    return found


def table_limits(target: str, precision: str) -> Limits:
    """What the table says."""
    own = TABLE.get((target, precision))
    return own if own is not None else TABLE.get((ANY, precision), TABLE[(ANY, "fp32")])


@contextmanager
def overridden(path: Path | None) -> Iterator[None]:
    """The limits of a TOML file hold inside. Raises UsageError if it is none."""
    token = _OVERRIDES.set(() if path is None else read_limits(path))
    try:
        yield
    finally:
        _OVERRIDES.reset(token)


def read_limits(path: Path) -> tuple[Override, ...]:
    """The entries `[[limits]]` of a file. Raises UsageError naming the first wrong key."""
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).limits
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read the limits: {error}", where=str(path)) from error
    except ValidationError as error:
        raise UsageError(
            first_fault(error),
            where=str(path),
            remedy="[[limits]] with model, and target, precision, relative, cosine, drop as needed",
        ) from error
