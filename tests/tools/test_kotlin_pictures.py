"""The Kotlin that prepares pictures against ours, to the last bit; needs a Kotlin compiler."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import statistics
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import Environment

from attnc.tools.packaging.android_cases import FILTERS, Case, fitted, line_of
from attnc.tools.packaging.rendering import TEMPLATES

#: The sources that need nothing of Android's.
PLAIN = (
    "Picture",
    "Preparation",
    "Interpolation",
    "ClassifierException",
    "Classification",
    "Benchmark",
    "Json",
)
FACTS = ("footprint", "machine", "method")
MAIN = """
package attnc.probe

import java.io.File

internal object Specification {
    const val MODEL = "a \\"model\\""
    const val PRECISION = "fp32"
    val PREPARATION = Preparation(24, 32, 0.875, Interpolation.BICUBIC)
}

private fun bytesOf(text: String) =
    ByteArray(text.length / 2) { text.substring(2 * it, 2 * it + 2).toInt(16).toByte() }

fun main(arguments: Array<String>) {
    for (line in File(arguments[0]).readLines()) {
        val words = line.split(" ")
        val (width, height, wide, high, orientation) = words.take(5).map { it.toInt() }
        val filter = Interpolation.valueOf(words[6].uppercase())
        val picture = Picture(width, height, bytesOf(words[7])).upright(orientation)
        val made = Preparation(wide, high, words[5].toDouble(), filter).fit(picture)
        println(made.bytes.joinToString("") { "%02x".format(it) })
    }
    val grey = blank().normalised(floatArrayOf(0.485f, 0f, 1f), floatArrayOf(0.229f, 1f, 2f))
    println(json(grey.map { it.toDouble() }))
    val labels = best(3, floatArrayOf(1f, 3f, 2f, 3f), emptyList())
    println(json(labels.map { listOf(it.index, it.score) }))
    var count = 0L
    val effort = Effort(sittings = 2, rounds = 3, burst = 4)
    val taken = measure(effort, { 0 }, { ++count * 1_000_000 }, {}, { Reading(null, listOf(7)) })
    println(report(taken, effort, 2, mapOf("cpu" to "none")))
}
"""


@cache
def compiler() -> tuple[list[str], str] | None:
    """The command and the standard library: `kotlinc`, or what Kotlin's Jupyter kernel has."""
    found = shutil.which("kotlinc")
    if found is not None:
        library = Path(found).resolve().parents[1] / "lib" / "kotlin-stdlib.jar"
        return [found], str(library)
    kernel = importlib.util.find_spec("run_kotlin_kernel")
    places = list(kernel.submodule_search_locations or []) if kernel is not None else []
    jars = [jar for place in places for jar in sorted((Path(place) / "jars").glob("*.jar"))]
    if not jars or shutil.which("java") is None:
        return None
    library = next(jar for jar in jars if jar.name.startswith("kotlin-stdlib"))
    path = os.pathsep.join(map(str, jars))
    java = ["java", "-cp", path, "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    return [*java, "-no-stdlib", "-no-reflect", "-cp", str(library)], str(library)


pytestmark = pytest.mark.skipif(compiler() is None, reason="no Kotlin compiler")


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the compiled sources are."""
    folder = tmp_path_factory.mktemp("kotlin")
    sources = TEMPLATES / "android/library/src/main/kotlin/attnc/__name__"
    for name in PLAIN:
        text = Environment().from_string((sources / f"{name}.kt.j2").read_text())
        (folder / f"{name}.kt").write_text(text.render(name="probe"))
    (folder / "Main.kt").write_text(MAIN)
    found = compiler()
    assert found is not None
    command = [*found[0], "-Werror", "-d", "made", *(f"{name}.kt" for name in (*PLAIN, "Main"))]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return os.pathsep.join([str(folder / "made"), found[1]])


def random_cases(rng: np.random.Generator, count: int) -> list[Case]:
    """None more than twice as high as wide: newer Pillows scale those in another order."""
    made = []
    for index in range(count):
        width = int(rng.integers(8, 150))
        made.append(
            Case(
                (width, int(rng.integers(max(8, (width + 1) // 2), 2 * width + 1))),
                (int(rng.integers(4, 40)), int(rng.integers(4, 40))),
                int(rng.integers(1, 9)),
                float(rng.choice([0.875, 0.9, 0.95, 1.0])),
                FILTERS[index % len(FILTERS)],
            )
        )
    return made


def test_every_bit(classpath: str, tmp_path: Path) -> None:
    rng = np.random.default_rng()
    cases = random_cases(rng, 240)
    pictures = [rng.integers(0, 256, (*case.size[::-1], 3), np.uint8) for case in cases]
    lines = [line_of(case, pixels) for case, pixels in zip(cases, pictures, strict=True)]
    (tmp_path / "cases.txt").write_text("".join(f"{line}\n" for line in lines))
    run = ["java", "-cp", classpath, "attnc.probe.MainKt", str(tmp_path / "cases.txt")]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    *made, grey, best, report = done.stdout.splitlines()
    for case, pixels, line in zip(cases, pictures, made, strict=True):
        found = np.frombuffer(bytes.fromhex(line), np.uint8)
        np.testing.assert_array_equal(found, fitted(pixels, case).reshape(-1), str(case))
    values = np.array(json.loads(grey), np.float64).reshape(3, -1)
    expected = [(127 / 255 - 0.485) / 0.229, 127 / 255, (127 / 255 - 1) / 2]
    np.testing.assert_allclose(values, np.repeat(expected, 24 * 32).reshape(3, -1), rtol=1e-5)
    scores = np.exp([3.0, 3.0, 2.0]) / np.exp([1.0, 3.0, 2.0, 3.0]).sum()
    np.testing.assert_allclose(json.loads(best), list(zip([1, 3, 2], scores, strict=True)))
    check_report(json.loads(report))


def check_report(said: dict[str, Any]) -> None:
    """Calls are numbered, so the samples tell which were counted: the last 4 of each turn of 6."""
    turns = [3 + 21 * sitting + 6 * turn for sitting in range(2) for turn in range(3)]
    samples = [float(turn + 3 + call) for turn in turns for call in range(4)]
    (row,) = said["results"]
    assert row["samples_ms"] == samples
    assert row["n"] == len(samples)
    assert row["median_ms"] == statistics.median(samples)
    assert row["p90_ms"] == pytest.approx(np.percentile(samples, 90))
    assert said["model"] == 'a "model"'
    assert said["machine"]["readings"] == [{"thermal_status": None, "clocks_khz": [7]}] * 6
    assert set(said) == {"model", "precision", "results", "left_out", *FACTS}
