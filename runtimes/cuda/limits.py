"""Whether a launch can work at all, told before a plugin is emitted and not on the device.

What a kernel keeps of each token, key or window lies in shared memory, of which every GPU grants a
block 48 KB without being asked; so there is a largest size for each kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnc.compiler.ops import registry
from attnc.runtimes.cuda.launch import CudaKernel, launch_of

#: Bytes of shared memory, static and dynamic, that a block has on every GPU.
MOST_SHARED = 48 * 1024
#: Blocks along the grid's axes x, y and z.
MOST_BLOCKS = (2**31 - 1, 2**16 - 1, 2**16 - 1)
Shapes = Sequence[Sequence[int]]


def refusal(kernel: CudaKernel, shapes: Shapes, attributes: Mapping[str, Any]) -> str:
    """Why the kernel cannot be launched for inputs of these shapes; "" if it can.

    A size that is known only later is to be given as its largest.
    """
    launch = launch_of(kernel, shapes, attributes)
    needed = kernel.static_bytes + launch.shared_bytes
    if needed > MOST_SHARED:
        driver = _driver(kernel, shapes, attributes)
        return (
            f"the kernel needs {needed} bytes of shared memory for a block and has {MOST_SHARED}; "
            f"most of them go with {driver}"
        )
    for axis, blocks, most in zip("xyz", launch.grid, MOST_BLOCKS, strict=True):
        if blocks > most:
            return f"the kernel needs {blocks} blocks along {axis} and has {most}"
    return ""


def _driver(kernel: CudaKernel, shapes: Shapes, attributes: Mapping[str, Any]) -> str:
    """The size that the bytes depend on most: the one that spares most of them if it is 1."""
    least: list[tuple[int, str]] = []
    names = registry.get(kernel.operator).inputs
    for i, shape in enumerate(shapes):
        for axis, size in enumerate(shape):
            fewer = [*shape[:axis], 1, *shape[axis + 1 :]]
            changed = launch_of(kernel, [*shapes[:i], fewer, *shapes[i + 1 :]], attributes)
            least.append((changed.shared_bytes, f"the {size} of axis {axis} of {names[i]}"))
    for name, value in attributes.items():
        single = [1] * len(value) if isinstance(value, (list, tuple)) else 1
        changed = launch_of(kernel, shapes, {**attributes, name: single})
        least.append((changed.shared_bytes, f"{name}={value}"))
    return min(least)[1]
