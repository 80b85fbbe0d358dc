"""The README inside a bundle: the lines that load it without attnc, from Python and C++."""

from __future__ import annotations

from attnc.compiler.android_readme import PACKAGED_LIBRARY, android_lines
from attnc.compiler.coreml_readme import coreml_readme
from attnc.compiler.manifest import Manifest, TensorSpec
from attnc.compiler.tensorrt_readme import tensorrt_lines
from attnc.compiler.web_readme import web_lines


def bundle_readme(manifest: Manifest) -> str:
    """Markdown text for `README.md`."""
    if manifest.coreml is not None:
        return coreml_readme(manifest, manifest.coreml)
    if manifest.web is not None:
        return "\n".join([*_head(manifest), *web_lines(manifest.web), *_tail(manifest)])
    first = android_lines if manifest.target == "android" else _python
    code = [*first(manifest), *_cpp(manifest)]
    return "\n".join([*_head(manifest), *tensorrt_lines(manifest), *code, *_tail(manifest)])


def _head(manifest: Manifest) -> list[str]:
    inputs = ", ".join(_describe(spec) for spec in manifest.inputs)
    outputs = ", ".join(_describe(spec) for spec in manifest.outputs)
    return [
        f"# {manifest.model} for {manifest.target}",
        "",
        f"An ONNX model, {manifest.precision}, opset {manifest.opset}, made by attnc "
        f"{manifest.built_with.get('attnc', '')}. ONNX Runtime 1.17 or later runs it; attnc need "
        "not be installed.",
        "",
        f"- input: {inputs}",
        f"- output: {outputs}",
        *_kernel_lines(manifest),
        *_ort_format_lines(manifest),
        *_other_format_lines(manifest),
        "",
    ]


def _ort_format_lines(manifest: Manifest) -> list[str]:
    """The second model file, and what is different about it."""
    entry = manifest.ort_format
    if entry is None:
        return []
    needs = " It has no function bodies: without the library it does not load."
    return [
        f"- `{entry.model}`: the same in ORT format, optimised for Arm by ONNX Runtime "
        f"{entry.converter}; reduced builds read it as well." + (needs if manifest.kernels else ""),
        f"- `{entry.operators}`: the operators that a reduced build must have for it",
    ]


def _other_format_lines(manifest: Manifest) -> list[str]:
    """The model for LiteRT and ExecuTorch."""
    runtimes = {"tflite": "LiteRT", "pte": "ExecuTorch with its XNNPACK backend"}
    return [
        f"- `{entry.model}`: the same for {runtimes[entry.format]}, written by "
        + ", ".join(f"{name} {version}" for name, version in sorted(entry.converters.items()))
        + "; it takes and gives the same numbers in the same order and needs no kernels of ours"
        for entry in manifest.formats
    ]


def _kernel_lines(manifest: Manifest) -> list[str]:
    if manifest.tensorrt is not None:
        return ["- in ONNX Runtime the model runs on standard operators, for comparison"]
    if manifest.web is not None:
        return ["- `web/` holds our engine, which does not read this file, and its program"]
    if not manifest.kernels:
        return ["- kernels: none; the model runs on standard operators"]
    listed = [f"`{library.path}` ({library.target})" for library in manifest.kernels]
    return [
        f"- kernels: {', '.join(listed)}. Without a kernel library `model.onnx` gives the same "
        "output, slower, on standard operators."
    ]


def _python(manifest: Manifest) -> list[str]:
    shape = ", ".join(str(size if isinstance(size, int) else 1) for size in _input(manifest).shape)
    return [
        "## Python",
        "",
        "In this folder, with `pip install onnxruntime numpy`:",
        "",
        "```python",
        "import numpy as np",
        "import onnxruntime as ort",
        "",
        "options = ort.SessionOptions()",
        *_python_library(manifest),
        'session = ort.InferenceSession("model.onnx", options)'
        + _or_else(manifest, '  # or "model.ort"'),
        f"x = np.zeros(({shape}), np.{_input(manifest).dtype})",
        f'{manifest.outputs[0].name} = session.run(None, {{"{_input(manifest).name}": x}})[0]',
        "```",
        "",
    ]


def _python_library(manifest: Manifest) -> list[str]:
    """One library is named; of several, the one for the machine that runs the lines."""
    register = "options.register_custom_ops_library"
    if len(manifest.kernels) < 2:
        return [f'{register}("{library.path}")' for library in manifest.kernels]
    return [
        "import platform",
        "libraries = {",
        *[f'    "{library.target}": "{library.path}",' for library in manifest.kernels],
        "}",
        'machine = f"{platform.system()}-{platform.machine()}".lower()',
        f"{register}(libraries[machine])",
    ]


def _cpp(manifest: Manifest) -> list[str]:
    shape = ", ".join(str(size if isinstance(size, int) else 1) for size in _input(manifest).shape)
    return [
        "## C++",
        "",
        "```cpp",
        "#include <onnxruntime_cxx_api.h>",
        "#include <array>",
        "#include <vector>",
        "",
        "int main() {",
        "  Ort::Env env;",
        "  Ort::SessionOptions options;",
        *[f"  {line}" for line in _cpp_library(manifest)],
        '  Ort::Session session(env, ORT_TSTR("model.onnx"), options);'
        + _or_else(manifest, '  // or "model.ort"'),
        f"  std::array<int64_t, {len(_input(manifest).shape)}> shape{{{shape}}};",
        "  int64_t count = 1;",
        "  for (int64_t size : shape) count *= size;",
        "  std::vector<float> x(count);",
        "  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);",
        "  Ort::Value input = Ort::Value::CreateTensor<float>(",
        "      memory, x.data(), x.size(), shape.data(), shape.size());",
        f'  const char* inputs[] = {{"{_input(manifest).name}"}};',
        f'  const char* outputs[] = {{"{manifest.outputs[0].name}"}};',
        "  auto result = session.Run(Ort::RunOptions{}, inputs, &input, 1, outputs, 1);",
        "  const float* values = result[0].GetTensorData<float>();",
        "  return values[0] == values[0] ? 0 : 1;",
        "}",
        "```",
        "",
    ]


def _cpp_library(manifest: Manifest) -> list[str]:
    """The first library is registered; the others stand beside it as comments."""
    android = manifest.target == "android"
    register = [
        f'options.RegisterCustomOpsLibrary(ORT_TSTR("{PACKAGED_LIBRARY if android else path}"));'
        + (f"  // on {target}" if len(manifest.kernels) > 1 else "")
        for path, target in ((library.path, library.target) for library in manifest.kernels)
    ]
    return [register[0], *[f"// {line}" for line in register[1:]]] if register else []


def _or_else(manifest: Manifest, words: str) -> str:
    return words if manifest.ort_format is not None else ""


def _tail(manifest: Manifest) -> list[str]:
    rule = manifest.preprocessing
    if rule is None:
        return []
    height, width = rule.image_size
    return [
        "## Preprocessing",
        "",
        f"RGB; resized ({rule.interpolation}, proportions kept) to cover "
        f"{width}x{height} divided by {rule.crop_fraction:g}; the centre {width}x{height} cut out; "
        f"`(value / 255 - mean) / std` with mean {list(rule.mean)} and std {list(rule.std)}.",
        "",
    ]


def _input(manifest: Manifest) -> TensorSpec:
    return manifest.inputs[0]


def _describe(spec: TensorSpec) -> str:
    return f"`{spec.name}` {spec.dtype} [{', '.join(str(size) for size in spec.shape)}]"
