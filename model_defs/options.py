"""Options of a family against its published variants: the same fields, values of the same kind."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from .errors import ModelOptionError

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def check_kinds(given: Any, published: Any, where: str) -> None:
    """Raise ModelOptionError for the first field of dataclass `given` that is of another kind than
    in `published`. Fields that are None there may be anything."""
    for field in fields(published):
        default, value = getattr(published, field.name), getattr(given, field.name)
        if isinstance(default, tuple):
            _check_list(value, default, field.name, where)
        elif default is not None and not _is_like(value, default):
            raise ModelOptionError(
                f"{field.name} cannot be {value!r}", where=where, remedy=_NAMES[type(default)]
            )


def _check_list(value: object, default: tuple[Any, ...], field: str, where: str) -> None:
    items = value if isinstance(value, tuple | list) else ()
    if not items or not all(_is_like(item, default[0]) for item in items):
        raise ModelOptionError(
            f"{field} needs {len(default)} values, not {value!r}",
            where=where,
            remedy=f"a list, as in {field}={json.dumps(default)}",
        )


def _is_like(value: object, default: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))
