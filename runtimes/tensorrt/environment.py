"""Whether TensorRT for RTX is here, and an environment in which its parser finds plugins.

Its parser loads `libtensorrt_rtx.so` by that name at the first plugin node, while the package has
`libtensorrt_rtx.so.1` only, and the process aborts. A private folder with a link of that name, on
the library path of a process of its own, mends it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from attnc.compiler.errors import MissingRuntimeError

PACKAGE = "tensorrt-rtx"
LINK = "libtensorrt_rtx.so"
#: What still works without it, for messages.
WITHOUT = "the bundle, its kernels and its parity in ONNX Runtime need no TensorRT"


def rtx_version() -> str | None:
    """The version of TensorRT for RTX that is installed, None if it is not."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return None
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"


def require_rtx() -> str:
    """Its version. Raises MissingRuntimeError, saying what works without it."""
    found = rtx_version()
    if found is None:
        raise MissingRuntimeError(
            f"TensorRT for RTX is not installed; {WITHOUT}",
            remedy="pip install 'attnc[tensorrt]'",
        )
    return found


def library_folder() -> Path:
    """The folder of TensorRT's shared libraries. Raises MissingRuntimeError if there is none."""
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    for place in map(Path, places):
        if any(place.glob(f"{LINK}.*")):
            return place
    raise MissingRuntimeError(
        f"the installed TensorRT for RTX has no {LINK}.*", remedy=f"pip install {PACKAGE}"
    )


@contextmanager
def build_environment() -> Iterator[dict[str, str]]:
    """Environment variables for a process that builds engines with plugins."""
    require_rtx()
    (library, *_) = sorted(library_folder().glob(f"{LINK}.*"))
    with TemporaryDirectory(prefix="attnc-tensorrt-") as folder:
        (Path(folder) / LINK).symlink_to(library.resolve())
        paths = [folder, os.environ.get("LD_LIBRARY_PATH", "")]
        yield {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths))}
