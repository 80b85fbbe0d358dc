"""The part of a TensorRT bundle's README that says how to build and run its engine."""

from __future__ import annotations

from attnc.compiler.manifest import Manifest, TensorrtEntry


def tensorrt_lines(manifest: Manifest) -> list[str]:
    """Markdown for `README.md`; nothing for other targets."""
    entry = manifest.tensorrt
    if entry is None:
        return []
    return [*_what(manifest, entry), *_build(entry), *_plugins(entry), *_run(manifest)]


def _what(manifest: Manifest, entry: TensorrtEntry) -> list[str]:
    name = "TensorRT for RTX" if entry.runtime == "tensorrt-rtx" else "TensorRT"
    lines = [
        f"## {name}",
        "",
        f"For {name} {entry.version} or later on GPUs of compute capability "
        f"{', '.join(entry.compute_capabilities)}. Precision is in the graph "
        f"({manifest.precision}, with {len(manifest.float32_regions)} regions in float32): build "
        "without precision flags.",
        "",
    ]
    for build in entry.builds:
        lines += [
            f"Built at export for sm_{build.sm} by TensorRT for RTX {entry.builder}: "
            f"{build.kernels} kernels, {build.attentions} fused attentions, "
            f"{build.plugin_layers} plugins. Nothing of it has run on a GPU yet.",
            "",
        ]
    return lines


def _build(entry: TensorrtEntry) -> list[str]:
    plan = (
        ["`model.plan` is the engine; to build it anew:"]
        if entry.plan
        else ["The engine is built on the device that will run it:"]
    )
    return [*plan, "", "```sh", "./build.sh", "```", ""]


def _plugins(entry: TensorrtEntry) -> list[str]:
    if not entry.plugins:
        return ["The engine needs no plugin.", ""]
    return [
        f"Plugins: {', '.join(entry.plugins)} (namespace `attnc`, version 1), in three forms: "
        "`plugin.py` (Python, no headers, the kernels travel in the plan), `plugin.cpp` with "
        "`CMakeLists.txt` (C++, against the headers of the TensorRT in use), `qdp.py` (TensorRT "
        "10.9 or later, ahead of time). Without them TensorRT builds the function bodies instead.",
        "",
    ]


def _run(manifest: Manifest) -> list[str]:
    return [
        "```sh",
        f"python sample.py input.npy   # float32 {list(manifest.inputs[0].shape)}",
        "```",
        "",
        "`sample.cpp` does the same from C++.",
        "",
    ]
