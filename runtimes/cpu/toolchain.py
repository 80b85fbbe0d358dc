"""How each target's kernel library is compiled and linked: flags only, no processes.

One file per instruction set is compiled with that set's flags; everything else with the
target's baseline, so that nothing newer can leak into the code that chooses at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

COMMON = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fPIC",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fvisibility=hidden",
    "-fno-sanitize=all",
    "-fno-stack-protector",
    "-fno-math-errno",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-Wall",
    "-Wextra",
]
#: What any processor runs, and only those without better do: half the bytes at -Os.
SHARED = {"dispatch.cpp": ["-Os"], "kernels_plain.cpp": ["-Os"]}
ORT_LAYER = (
    "ort_attributes.cpp",
    "ort_ops_heads.cpp",
    "ort_ops_low.cpp",
    "ort_ops_maps.cpp",
    "ort_ops_slots.cpp",
    "ort_ops_sparse.cpp",
    "ort_ops_tokens.cpp",
    "ort_ops_window.cpp",
    "ort_register.cpp",
)
BENCH_LAYER = ("bench_api.cpp",)
AVX512 = [
    "-mavx512f",
    "-mavx512dq",
    "-mavx512bw",
    "-mavx512vl",
    "-mfma",
    "-mprefer-vector-width=512",
]
X86 = {
    "kernels_avx512.cpp": AVX512,
    "kernels_avx2.cpp": ["-mavx2", "-mfma", "-mf16c"],
    "low_avx512_vnni.cpp": [*AVX512, "-mavx512vnni"],
}
#: Compilers differ in how they are told of Arm's extensions: those files tell them by attributes.
ARM: dict[str, list[str]] = {
    "kernels_neon.cpp": [],
    "low_neon_fp16.cpp": [],
    "low_neon_dot.cpp": [],
}


@dataclass(frozen=True)
class Target:
    """One platform: zig's triple, file suffix, per-file flags, link flags, stub libraries."""

    name: str
    triple: str
    suffix: str
    isa_files: dict[str, list[str]]
    link: tuple[str, ...] = ()
    compile_triple: str = ""
    stubs: tuple[str, ...] = ()

    @property
    def sources(self) -> dict[str, list[str]]:
        """Source file to extra flags, the ONNX Runtime layer left out."""
        return {**self.isa_files, **SHARED}


TARGETS = {
    t.name: t
    for t in (
        Target("linux-x86_64", "x86_64-linux-gnu.2.17", "so", X86, ("-s",)),
        Target("linux-aarch64", "aarch64-linux-gnu.2.17", "so", ARM, ("-s",)),
        # zig has no Android libc: musl headers compile, stubs stand in for libc.so and libm.so.
        Target(
            "android-aarch64",
            "aarch64-linux-android",
            "so",
            ARM,
            ("-s", "-nostdlib", "-Wl,-z,max-page-size=16384"),
            "aarch64-linux-musl",
            ("c", "m"),
        ),
        Target("macos-aarch64", "aarch64-macos.11.0", "dylib", ARM),
        Target("windows-x86_64", "x86_64-windows-gnu", "dll", X86, ("-s",)),
    )
}
