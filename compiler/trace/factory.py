"""`package.module:factory`: somebody else's network, imported and built.

Whatever their code does wrong is reported in one line that names the factory, the exception and the
place in their file.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnc.compiler.errors import UsageError

from .quiet import one_line, prints_to_stderr
from .traced import Request

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    folder = str(Path.cwd())
    added = folder not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)


def _place(error: BaseException) -> str:
    """File and line of the innermost frame outside the import system, without folders."""
    own = str(Path(__file__))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != own
    ]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _guarded(spec: str, doing: str, action: Any) -> Any:
    try:
        with prints_to_stderr():
            return action()
    except (Exception, SystemExit) as error:  # their code: anything may come
        place = _place(error)
        raise UsageError(
            f"{doing} {spec} failed: {one_line(error)}",
            where=f"{spec} ({place})" if place else spec,
            remedy="run the factory in Python on its own; it must return a torch.nn.Module",
        ) from error


def _find(spec: str) -> Any:
    module_name, _, attribute = spec.partition(":")
    if not module_name or not all(part.isidentifier() for part in attribute.split(".")):
        raise UsageError(
            f"{spec!r} is not of the form package.module:factory",
            remedy="for example my_package.nets:build",
        )
    found = _guarded(spec, "importing", lambda: importlib.import_module(module_name))
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [name for name in vars(found) if not name.startswith("_")]
            raise UsageError(
                f"{module_name} has no {part!r}",
                where=spec,
                remedy=f"it has {', '.join(names[:8])}" if names else "",
            )
        found = getattr(found, part)
    return found


def build_from_factory(spec: str, request: Request) -> nn.Module:
    """Import and call the factory; `num_classes` and model options are passed where given."""
    from torch import nn

    with _current_folder_importable():
        found = _find(spec)
        arguments = dict(request.options)
        if request.num_classes is not None:
            arguments["num_classes"] = request.num_classes
        if isinstance(found, nn.Module):
            if arguments:
                raise UsageError(f"{spec} is a module already and takes no options", where=spec)
            return found
        if not callable(found):
            raise UsageError(f"{spec} is a {type(found).__name__}, no factory", where=spec)
        built = _guarded(spec, "calling", lambda: found(**arguments))
    if not isinstance(built, nn.Module):
        raise UsageError(
            f"{spec} returned a {type(built).__name__}, not a torch.nn.Module", where=spec
        )
    return built
