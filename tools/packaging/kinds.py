"""The kinds of package that `attnc package` writes: one line, one file, one folder of templates."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from attnc.compiler.errors import UsageError
from attnc.compiler.progress import SILENT, Progress

if TYPE_CHECKING:
    from attnc.compiler.bundle import Bundle


class Writer(Protocol):
    """What the module of a kind offers."""

    def write(self, bundle: Bundle, folder: Path, progress: Progress) -> str:
        """Write the package of a bundle of the kind's target into an empty folder.

        Returns the name by which an app imports it. Raises UnsupportedError if the bundle lacks
        what the package needs.
        """


class WithWebgpu(Protocol):
    """What the module of a kind offers besides, if its packages can have WebGPU."""

    def write_with_webgpu(self, bundle: Bundle, folder: Path, progress: Progress) -> str:
        """As `write`. Raises MissingRuntimeError if onnxruntime-web is not to be had."""


@dataclass(frozen=True)
class Kind:
    """`target` is of the bundles that it is made from; `module` has its `write`."""

    name: str
    target: str
    description: str
    module: str


KINDS = (
    Kind("swiftpm", "coreml", "a Swift package for Xcode", "attnc.tools.packaging.swiftpm"),
    Kind("android", "android", "a Gradle project for phones", "attnc.tools.packaging.android"),
    Kind("web", "web", "a page that works offline", "attnc.tools.packaging.web"),
)


@dataclass(frozen=True)
class Package:
    """What was written: `name` is what an app imports, `files` are relative to `path`."""

    path: Path
    kind: str
    name: str
    files: tuple[str, ...]


def find_kind(name: str) -> Kind:
    """The kind of this name. Raises UsageError if there is none."""
    found = next((kind for kind in KINDS if kind.name == name), None)
    if found is not None:
        return found
    names = [kind.name for kind in KINDS]
    nearest = get_close_matches(name, names, n=1)
    raise UsageError(
        f"unknown kind of package {name!r}",
        remedy=f"did you mean {nearest[0]}?" if nearest else f"one of: {', '.join(names)}",
    )


def write_package(
    bundle: Path,
    kind: str,
    output: Path,
    *,
    webgpu: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> Package:
    """Write the package of the bundle in folder `bundle` into the folder `output`, whole or not.

    `webgpu` adds onnxruntime-web to a page. Raises UsageError for an unknown kind, one that does
    not fit the bundle's target, a damaged bundle or an output that may not be written;
    UnsupportedError and MissingRuntimeError as the
    kind does.
    """
    from attnc.compiler.bundle import Bundle
    from attnc.compiler.staging import check_output, staged_folder

    wanted = find_kind(kind)
    if webgpu and wanted.name != "web":
        raise UsageError(f"a {wanted.name} package has no WebGPU", remedy="leave --webgpu out")
    check_output(output, force=force)
    opened = Bundle.open(bundle)
    _check_fit(wanted, opened)
    _check_apart(opened.path, output)
    writer = cast(Writer, import_module(wanted.module))
    with staged_folder(output, force=force) as folder:
        write = cast(WithWebgpu, writer).write_with_webgpu if webgpu else writer.write
        name = write(opened, folder, progress)
        files = sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )
    return Package(output, wanted.name, name, tuple(files))


def _check_fit(kind: Kind, bundle: Bundle) -> None:
    target = bundle.manifest.target
    if kind.target == target:
        return
    fitting = [each.name for each in KINDS if each.target == target]
    remedy = f"export it again with --target {kind.target}"
    raise UsageError(
        f"a {kind.name} package is made from a bundle for {kind.target}; this one is for {target}",
        where=str(bundle.path),
        remedy=f"--kind {' or '.join(fitting)}, or {remedy}" if fitting else remedy,
    )


def _check_apart(bundle: Path, output: Path) -> None:
    """Bundles are not to be written into, nor replaced by what is made of them."""
    inner, outer = bundle.resolve(), output.resolve()
    if outer.is_relative_to(inner) or inner.is_relative_to(outer):
        raise UsageError(
            f"the package would lie in the bundle's own folder, or replace it: {output}",
            where=str(bundle),
            remedy="name another folder with -o",
        )
