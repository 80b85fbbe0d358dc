"""Write a folder all at once or not at all.

Everything is written into a hidden folder next to the output and renamed at the end; whatever
interrupts the work (an error, a full disk, Ctrl-C) leaves neither folder behind.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnc.compiler.errors import UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_disk_full(error: BaseException) -> bool:
    """Whether `error`, or what caused it, says that no more bytes could be written."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def check_output(output: Path, *, force: bool) -> None:
    """Refuse an output folder that must not be replaced; see `staged_folder`.

    Raises UsageError if `output` is a file, holds something and `force` is not set, or is a place
    that no export may replace (the working folder or a parent of it, a home, a checkout).
    """
    if not os.path.lexists(output):
        return
    if output.is_symlink() or not output.is_dir():
        raise UsageError(
            f"the output {output} exists and is not a folder", remedy="name another folder with -o"
        )
    if not any(output.iterdir()):
        return
    if not force:
        raise UsageError(
            f"the output folder {output} exists and is not empty",
            remedy="name another folder with -o, or replace all of it with --force",
        )
    real = output.resolve()
    if real in {Path.cwd(), *Path.cwd().parents, Path.home()} or (real / ".git").exists():
        raise UsageError(
            f"--force would delete {real}, which is more than a bundle",
            remedy="name another folder with -o",
        )


@contextmanager
def staged_folder(output: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes `output` when the block ends without an exception.

    With `force` an existing folder is replaced as a whole, at the very end.
    Raises UsageError if `output` may not be written, or when the disk is full.
    """
    check_output(output, force=force)
    created = _missing_parents(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with _scratch(output) as scratch:
            yield scratch
            _swap(scratch, output)
        created = []
    except OSError as error:
        raise _as_usage_error(error, output) from error
    finally:
        for folder in created:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _missing_parents(output: Path) -> list[Path]:
    """Parents that the export has to make, innermost first."""
    return [parent for parent in output.absolute().parents if not parent.exists()]


@contextmanager
def _scratch(output: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(scratch: Path, output: Path) -> None:
    """Rename `scratch` to `output`; an old folder goes away only once the new one is in place."""
    if not output.exists():
        scratch.rename(output)
        return
    with _scratch(output) as parked:
        old = parked / "old"
        output.rename(old)
        try:
            scratch.rename(output)
        except BaseException:
            old.rename(output)
            raise


def _as_usage_error(error: OSError, output: Path) -> UsageError:
    if is_disk_full(error):
        return UsageError(
            f"the disk is full: {output} could not be written, nothing was left there",
            where=str(output.parent.absolute()),
            remedy="free some space, or name an output folder on another disk",
        )
    reason = error.strerror or str(error)
    return UsageError(f"cannot write {output}: {reason}", where=str(error.filename or output))


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace `path` by `text`, whole or not at all."""
    write_bytes(path, text.encode(), mode=mode)


def write_bytes(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `content`, whole or not at all; nobody else may read it before it has its
    mode."""
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                file.write(content)
                file.flush()
                os.chmod(file.name, mode)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise _as_usage_error(error, path) from error
