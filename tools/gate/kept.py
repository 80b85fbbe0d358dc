"""The bundles that a baseline was made of, kept beside it, to be timed in turn with new ones.

A folder per bundle, named by the beginning of its manifest's SHA-256, which the baseline holds in
full; so a folder that belongs to another baseline is never taken for this one's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from attnc.compiler.bundle import Bundle
from attnc.compiler.errors import UsageError
from attnc.compiler.manifest import FILE_NAME
from attnc.compiler.staging import staged_folder

SUFFIX = ".bundles"
_DIGITS = 16
_NAME = re.compile(rf"[0-9a-f]{{{_DIGITS}}}")


def folder_of(baseline: Path) -> Path:
    """Where the bundles of a baseline are unless told otherwise: `ci/baseline.bundles`."""
    return baseline.with_suffix(SUFFIX)


def find(folder: Path, digest: str) -> Bundle | str:
    """The bundle with this digest, or why there is none. Raises UsageError if it is damaged."""
    if not folder.is_dir():
        return f"the bundles that the baseline was made of are not here: there is no {folder}"
    place = folder / digest[:_DIGITS]
    if not place.is_dir():
        return f"{folder} belongs to another baseline: it has no bundle {digest[:_DIGITS]}"
    try:
        bundle = Bundle.open(place)
    except UsageError as error:
        raise UsageError(
            f"a kept bundle of the baseline is damaged: {error.message}",
            where=str(place),
            remedy=f"fetch {folder} again, or delete it and go without (--no-bundles)",
        ) from error
    if bundle.manifest.digest != digest:
        return f"{folder} belongs to another baseline: {place.name} is another bundle"
    return bundle


def keep(folder: Path, bundles: Iterable[Bundle]) -> None:
    """Copy bundles into the folder, each whole or not at all: the files that their manifests list.

    Raises UsageError if it cannot be written.
    """
    for bundle in bundles:
        digest = bundle.manifest.digest
        if (folder / digest[:_DIGITS]).is_dir() and isinstance(find(folder, digest), Bundle):
            continue
        with staged_folder(folder / digest[:_DIGITS], force=True) as scratch:
            for name in (FILE_NAME, *(entry.path for entry in bundle.manifest.files)):
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(bundle.path / name, scratch / name)


def prune(folder: Path, digests: Iterable[str]) -> None:
    """Remove the kept bundles that no record of the baseline names any more; nothing else."""
    wanted = {digest[:_DIGITS] for digest in digests}
    for place in folder.iterdir() if folder.is_dir() else ():
        known = _NAME.fullmatch(place.name) and (place / FILE_NAME).is_file()
        if known and place.name not in wanted:
            shutil.rmtree(place)
