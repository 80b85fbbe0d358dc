"""The plugin sources of a TensorRT bundle, rendered from the list of kernels.

A bundle carries its kernels as sources and their plugins in three forms (a Python module, a C++
library, an ahead-of-time module), so that it can be built on the device it is for. All three
read the same size expressions. Rendering twice gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from attnc.compiler.ops.registry import get
from attnc.runtimes.cuda.launch import NAMESPACE, PRECISIONS, VERSION, CudaKernel
from attnc.runtimes.tensorrt.expressions import Binding, bindings
from attnc.runtimes.tensorrt.wrapping import given, wrapped

TEMPLATES = Path(__file__).parent / "templates"
KERNEL_SOURCES = Path(__file__).parent.parent / "cuda" / "src"
RUNTIMES = ("tensorrt", "tensorrt_rtx")
#: What each template becomes in the bundle's folder; those ending in .sh are made executable.
RENDERED = (
    "CMakeLists.txt",
    "build.sh",
    "cuda_driver.h",
    "embed.cmake",
    "launches.h",
    "plugin.cpp",
    "plugin.py",
    "plugin_parts.h",
    "qdp.py",
    "sample.cpp",
    "sample.py",
)
#: Headers that only the tests include: nvcc never reads them.
_NOT_SHIPPED = frozenset({"host_shim.h"})
#: CUDA with which kernels are compiled here; drivers of older majors may refuse what it makes.
_COMPILED_WITH = 13
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Signature:
    """What the plugin of an operator takes: names of inputs, kinds of attributes."""

    inputs: tuple[str, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """What the scripts beside the plugins say of the network.

    `shape` has the sizes of the input including the batch. `batches` gives the smallest, the
    usual and the largest batch of a dynamic one, None if the batch is that of `shape`. `runtime`
    is the Python module of the runtime, "tensorrt" or "tensorrt_rtx". `cuda` is the CUDA of the
    device, `architectures` are its GPUs as nvcc writes them ("87").
    """

    name: str
    runtime: str
    input: str
    shape: tuple[int, ...]
    output: str
    batches: tuple[int, int, int] | None = None
    model: str = "model.onnx"
    plan: str = "model.plan"
    labels: str = "labels.txt"
    cuda: str = "13.0"
    architectures: tuple[str, ...] = ("75",)

    @property
    def old_cuda(self) -> bool:
        """Whether the device's driver may refuse the kernels that come with the bundle."""
        return int(self.cuda.partition(".")[0]) < _COMPILED_WITH

    @property
    def oldest(self) -> str:
        """The architecture of the PTX."""
        return min(self.architectures, key=int)

    def shapes(self) -> tuple[str, ...]:
        """The smallest, usual and largest shape as `1x3x224x224`; nothing for a static batch."""
        sizes = [(batch, *self.shape[1:]) for batch in self.batches or ()]
        return tuple("x".join(map(str, size)) for size in sizes)


@dataclass(frozen=True)
class Plugin:
    """A kernel and its operator's signature, as the templates see them."""

    kernel: CudaKernel
    signature: Signature

    @property
    def name(self) -> str:
        """The operator's name: the plugin's name and that of its C++ struct."""
        return self.kernel.operator

    @cached_property
    def function(self) -> str:
        """The operator's name as a Python function has it."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).lower()

    @property
    def code(self) -> str:
        """The name that the compiled files of the kernel share."""
        return code_name(self.kernel.source)

    @cached_property
    def integers(self) -> tuple[int, ...]:
        """Positions of the integer tensors, inputs and outputs counted through."""
        inputs = len(self.signature.inputs)
        return (*self.kernel.integer_inputs, *(inputs + i for i in self.kernel.integer_outputs))

    @cached_property
    def output_bindings(self) -> list[Binding]:
        """What the sizes of the outputs need."""
        texts = [text for shape in self.kernel.outputs for text in shape]
        return bindings(self.kernel, self.signature.attributes, texts)

    @cached_property
    def launch_bindings(self) -> list[Binding]:
        """What the launch needs."""
        texts = [*self.kernel.grid, self.kernel.shared_bytes, *self.kernel.scalars]
        return bindings(self.kernel, self.signature.attributes, texts)


def code_name(source: str) -> str:
    """The stem of a kernel source's compiled files.

    Those are `kernels/<stem>.ptx` and, for compute capability 8.7, `kernels/<stem>.sm_87.cubin`.
    """
    return Path(source).stem


def signature_of(operator: str) -> Signature:
    """The signature of a registered operator; UsageError if there is none of this name."""
    found = get(operator)
    return Signature(found.inputs, found.attributes)


def write_sources(
    folder: Path,
    kernels: Sequence[CudaKernel],
    precision: str,
    network: Network,
    *,
    signatures: Mapping[str, Signature] | None = None,
    kernel_sources: Path = KERNEL_SOURCES,
) -> list[str]:
    """Write the plugins of these kernels and their scripts into a bundle's folder.

    `precision`, "fp32", "fp16" or "bf16", is the one floating type that the plugins take and
    give, also in an engine with parts in float32. `signatures` stands in for the registered
    operators. Returns the paths of the files, relative to the folder, sorted. ValueError if an
    expression is not one.
    """
    _check(precision, network)
    known = signatures if signatures is not None else {}
    plugins = [Plugin(k, known.get(k.operator) or signature_of(k.operator)) for k in kernels]
    plugins.sort(key=lambda plugin: plugin.name)
    values = {
        "plugins": plugins,
        "codes": sorted({(plugin.code, plugin.kernel.source) for plugin in plugins}),
        "precision": precision,
        "network": network,
        "namespace": NAMESPACE,
        "version": VERSION,
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = [_render(folder, name, values) for name in RENDERED]
    if plugins:
        written += _copy_kernels(folder, plugins, kernel_sources)
    return sorted(written)


def _check(precision: str, network: Network) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    if network.runtime not in RUNTIMES:
        raise ValueError(f"runtime {network.runtime!r} is none of {', '.join(RUNTIMES)}")


def _render(folder: Path, name: str, values: Mapping[str, object]) -> str:
    text = _environment().get_template(f"{name}.j2").render(values)
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="\n")
    path.chmod(0o755 if name.endswith(".sh") else 0o644)
    return name


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(wrapped=wrapped, given=given)
    return environment


def _copy_kernels(folder: Path, plugins: Sequence[Plugin], kernel_sources: Path) -> list[str]:
    """Copy the sources of the kernels and the headers that they include."""
    waiting = [plugin.kernel.source for plugin in plugins]
    copied: set[str] = set()
    (folder / "kernels").mkdir(exist_ok=True)
    while waiting:
        name = waiting.pop()
        if name not in copied:
            copied.add(name)
            text = (kernel_sources / name).read_text(encoding="utf-8")
            (folder / "kernels" / name).write_text(text, encoding="utf-8", newline="\n")
            waiting += set(_INCLUDE.findall(text)) - _NOT_SHIPPED
    return [f"kernels/{name}" for name in copied]
