"""Builds the kernel libraries into the package: everything else is in pyproject.toml.

ATTNC_KERNEL_TARGETS picks what a wheel carries (names as in runtimes/cpu/toolchain.py, `all`,
or nothing at all for a build without kernels); the default is every target, and the web engine.
"""

import os
import sys
import types
from importlib import import_module
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


def build_kernels(names: list[str]) -> None:
    """Compile these targets with the package's own build, which cannot be imported as attnc yet."""
    package = types.ModuleType("kernel_build")
    package.__path__ = [str(Path(__file__).parent / "runtimes")]
    sys.modules["kernel_build"] = package
    builder = import_module("kernel_build.cpu.build")
    for name in builder.TARGETS if names == ["all"] else names:
        builder.build(name)
    if names == ["all"]:
        runner = import_module("kernel_build.device.build")
        for name in runner.TARGETS:
            runner.build(name)
        engine = import_module("kernel_build.web.build")
        for name in engine.BUILDS:
            engine.build(name)


class BuildWithKernels(build_py):
    """build_py that compiles the kernels first; an editable install leaves that to `make`."""

    def run(self) -> None:
        """Compile, then copy the package data, which the libraries are."""
        if not self.editable_mode:
            build_kernels(os.environ.get("ATTNC_KERNEL_TARGETS", "all").split())
            self.__dict__.pop("data_files", None)  # was listed before the libraries existed
        super().run()


setup(cmdclass={"build_py": BuildWithKernels})
