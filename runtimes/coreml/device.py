"""Core ML on a Mac: whether it is here, and a runner that predicts with it.

coremltools only warns of a model that Core ML refuses; here that is an error.
"""

from __future__ import annotations

import platform
import subprocess
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from attnc.compiler.errors import MissingRuntimeError, UnsupportedError, UsageError
from attnc.compiler.manifest import TensorSpec
from attnc.runtimes.coreml.device_values import as_picture, class_labels
from attnc.runtimes.coreml.features import Feature
from attnc.runtimes.coreml.images import picture_values
from attnc.runtimes.coreml.package import Package, open_package
from attnc.runtimes.coreml.types import STORAGE
from attnc.runtimes.machine import package_versions
from attnc.runtimes.runner import Outputs, Runner, check_feed

#: Compute units by our names: what Core ML may use, not what it will use.
UNITS = {
    "all": "ALL",
    "cpu": "CPU_ONLY",
    "cpu-and-gpu": "CPU_AND_GPU",
    "cpu-and-ne": "CPU_AND_NE",
}
#: The first macOS that loads a specification version.
MACOS = {6: "12", 7: "13", 8: "14", 9: "15", 10: "26"}
BINDING = "libcoremlpython"
#: What coremltools says before Core ML's own words.
PREAMBLE = "Underlying exception message was: "
LONGEST = 400


def available() -> str | None:
    """None where Core ML can predict, else the reason in words; imports nothing."""
    if platform.system() != "Darwin":
        return f"Core ML predicts on macOS only; this is {platform.system()}"
    spec = find_spec("coremltools")
    if spec is None:
        return "Core ML is reached through coremltools, which is not installed"
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not any(list(folder.glob(f"{BINDING}*")) for folder in folders):
        version = platform.python_version()
        return f"the installed coremltools cannot reach Core ML from Python {version}"
    return None


def require() -> None:
    """Raise MissingRuntimeError where Core ML cannot predict."""
    reason = available()
    if reason:
        raise MissingRuntimeError(
            reason,
            remedy="on a Mac, pip install 'attnc[coreml]' in a Python that coremltools has a "
            "wheel for; elsewhere `attnc verify` evaluates the package without Core ML",
        )


def mac_info() -> dict[str, str]:
    """The chip, the macOS and the coremltools that figures come from."""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        chip = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        chip = ""
    return {
        "chip": chip or platform.machine(),
        "macos": platform.mac_ver()[0],
        **package_versions(("coremltools",)),
    }


def compute_unit(units: str) -> Any:
    """coremltools' name of compute units. Raises UsageError for unknown ones."""
    if units not in UNITS:
        raise UsageError(f"unknown compute units {units!r}", remedy=f"one of: {', '.join(UNITS)}")
    return getattr(import_module("coremltools").ComputeUnit, UNITS[units])


def words(error: object) -> str:
    """What Core ML says, on one line: its descriptions are dictionaries over many."""
    text = " ".join(str(error).rpartition(PREAMBLE)[2].split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def load_model(path: Path, units: str, version: int) -> Any:
    """The MLModel of a package of this specification version, loaded by Core ML.

    Raises UnsupportedError in Core ML's words if it refuses the package, MissingRuntimeError if
    this macOS is too old for it or coremltools cannot reach Core ML.
    """
    choice = compute_unit(units)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            model = import_module("coremltools").models.MLModel(str(path), compute_units=choice)
        except Exception as error:  # Core ML raises whatever it meets
            raise _refused(path, units, error) from error
    try:
        model.get_compiled_model_path()
    except Exception as error:
        said = [each.message for each in heard if PREAMBLE in str(each.message)]
        raise _refused(path, units, said[-1]) if said else _not_here(path, version) from error
    return model


def _not_here(path: Path, version: int) -> MissingRuntimeError:
    """Why coremltools has not tried to load a package, of which it says nothing itself."""
    try:
        import_module(f"coremltools.{BINDING}")
    except ImportError as error:
        return MissingRuntimeError(
            f"coremltools cannot reach Core ML: {words(error)}",
            remedy="install coremltools again, in a Python that it has a wheel for",
        )
    first = MACOS.get(version, "of a later year")
    return MissingRuntimeError(
        f"this macOS ({platform.mac_ver()[0]}) is too old for {path.name}, which has "
        f"specification version {version}",
        where=str(path),
        remedy=f"use macOS {first} or newer, or export for an older deployment target",
    )


def _refused(path: Path, units: str, error: object) -> UnsupportedError:
    others = ", ".join(other for other in UNITS if other != units)
    return UnsupportedError(
        f"Core ML does not load {path.name} on compute units {units}: {words(error)}",
        where=str(path),
        remedy=f"try other compute units ({others}), or export the package again",
    )


class CoremlRunner(Runner):
    """Predicts with a package; pictures and arrays go in.

    A classifier's label and its probabilities by label come out as Core ML gives them.
    """

    name: ClassVar[str] = "coreml"

    def __init__(self, package_path: Path, units: str = "all") -> None:
        """`units`: see `UNITS`."""
        self._path, self._units = package_path, units
        self._model: Any = None
        self._pictures: dict[str, Feature] = {}
        self.takes: tuple[Feature, ...] = ()
        self.gives: tuple[Feature, ...] = ()
        self.labels: tuple[Any, ...] = ()

    def activate(self) -> None:
        """Load the package, which may take minutes for the Neural Engine.

        Raises MissingRuntimeError where Core ML cannot predict, UsageError for a folder that is
        no package, UnsupportedError if Core ML refuses it.
        """
        require()
        package = open_package(self._path)
        self._describe(package)
        self._model = load_model(self._path, self._units, package.specification_version)

    def run(self, feed: Mapping[str, Any]) -> Outputs:
        """As `infer`, once names, types, shapes and pictures are known to fit; else UsageError."""
        check_feed({name: self._values(name, value) for name, value in feed.items()}, self.inputs)
        return self.infer(feed)

    def infer(self, feed: Mapping[str, Any]) -> Outputs:
        """The outputs by name. An array for a picture's input is made a picture.

        Raises UnsupportedError in Core ML's words if it fails.
        """
        given = {name: self._ready(name, value) for name, value in feed.items()}
        try:
            outputs: Outputs = dict(self._model.predict(given))
        except Exception as error:  # Core ML raises whatever it meets
            raise UnsupportedError(
                f"Core ML cannot run {self._path.name} on compute units {self._units}: "
                f"{words(error)}",
                where=str(self._path),
                remedy="try other compute units (cpu is the one that runs everything), or give "
                "inputs that fit the package",
            ) from error
        return outputs

    def deactivate(self) -> None:
        """Drop the model."""
        self._model = None

    def _describe(self, package: Package) -> None:
        self.takes, self.gives = package.inputs, package.outputs
        self.labels = class_labels(package)
        self._pictures = {each.name: each for each in self.takes if each.kind == "image"}
        self.inputs = tuple(map(_spec, package.inputs))
        self.outputs = tuple(map(_spec, package.outputs))

    def _values(self, name: str, value: Any) -> Any:
        if isinstance(value, Image.Image) and name in self._pictures:
            return picture_values(value, self._pictures[name])
        return value

    def _ready(self, name: str, value: Any) -> Any:
        if name in self._pictures and not isinstance(value, Image.Image):
            return as_picture(value, self._pictures[name])
        return value


def _spec(feature: Feature) -> TensorSpec:
    """As runners describe it; a size that may differ is free."""
    dtype = str(np.dtype(STORAGE[feature.dtype])) if feature.dtype in STORAGE else feature.dtype
    shape = tuple(
        sizes[0] if len(set(sizes)) == 1 else "any" for sizes in zip(*feature.allowed, strict=True)
    )
    return TensorSpec(name=feature.name, dtype=dtype, shape=shape)
