"""The part of a bundle's README for Android: where its files go in an app, and the Kotlin."""

from __future__ import annotations

from math import prod

from attnc.compiler.manifest import Manifest

#: Apps find libraries in their package by names of this form only.
PACKAGED_LIBRARY = "libattnc_kernels.so"


def android_lines(manifest: Manifest) -> list[str]:
    """Markdown for `README.md`."""
    return [*_files(manifest), *_kotlin(manifest)]


def _files(manifest: Manifest) -> list[str]:
    libraries = [
        f"- `{library.path}` to `app/src/main/jniLibs/arm64-v8a/{PACKAGED_LIBRARY}`: packages hold "
        "libraries under names of this form only"
        for library in manifest.kernels
    ]
    return [
        "## In an app",
        "",
        "- `model.ort` or `model.onnx` to `app/src/main/assets/`",
        *libraries,
        '- `implementation("com.microsoft.onnxruntime:onnxruntime-android:VERSION")`, '
        'with `ndk { abiFilters += "arm64-v8a" }`; for a reduced build of ONNX Runtime '
        "(`--include_ops_by_config required_operators.config`) its own archive",
        "",
        "Neither has run on a phone yet.",
        "",
    ]


def _kotlin(manifest: Manifest) -> list[str]:
    shape = [size if isinstance(size, int) else 1 for size in manifest.inputs[0].shape]
    sizes = ", ".join(str(size) for size in shape)
    register = (
        [f'options.registerCustomOpLibrary("{PACKAGED_LIBRARY}")'] if manifest.kernels else []
    )
    return [
        "## Kotlin",
        "",
        "```kotlin",
        "import ai.onnxruntime.OnnxTensor",
        "import ai.onnxruntime.OrtEnvironment",
        "import ai.onnxruntime.OrtSession",
        "import android.content.Context",
        "import java.nio.FloatBuffer",
        "",
        "fun classify(context: Context): FloatArray {",
        "    val environment = OrtEnvironment.getEnvironment()",
        "    val options = OrtSession.SessionOptions()",
        *(f"    {line}" for line in register),
        '    val name = "model.ort"  // or "model.onnx"',
        "    val model = context.assets.open(name).use { it.readBytes() }",
        "    environment.createSession(model, options).use { session ->",
        f"        val pixels = FloatBuffer.wrap(FloatArray({prod(shape)}))",
        f"        val shape = longArrayOf({sizes})",
        "        OnnxTensor.createTensor(environment, pixels, shape).use { input ->",
        f'            session.run(mapOf("{manifest.inputs[0].name}" to input)).use {{ result ->',
        '                @Suppress("UNCHECKED_CAST")',
        "                return (result[0].value as Array<FloatArray>)[0]",
        "            }",
        "        }",
        "    }",
        "}",
        "```",
        "",
    ]
