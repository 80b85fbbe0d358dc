"""An arm64 Linux with Python and ONNX Runtime in `build/arm64`, run by qemu-user on this machine.

Everything comes from the distribution's own package sources and from the Python package index, is
unpacked into one folder and needs no root. There is no timing under emulation, only parity.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from attnc.compiler.errors import MissingRuntimeError

ROOT = Path(__file__).resolve().parent.parent
SANDBOX = ROOT / "build" / "arm64"
WHEEL_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
#: What ONNX Runtime's CPU detection reads; qemu would show it the x86 host's file and it crashes.
CPU_FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop"
    " asimddp"
)
CPU = (
    f"BogoMIPS\t: 50.00\nFeatures\t: {CPU_FEATURES}\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n"
)


def ready() -> bool:
    """Whether the sandbox is complete for the versions that are installed here."""
    stamp = SANDBOX / "ready"
    return stamp.exists() and stamp.read_text("utf-8") == _wanted()


def prepare() -> None:
    """Build the sandbox if it is not there; MissingRuntimeError where that cannot be done."""
    SANDBOX.parent.mkdir(parents=True, exist_ok=True)
    with (SANDBOX.parent / "arm64.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes; one builds it
        if not ready():
            _build()


def _build() -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise MissingRuntimeError(
            "the arm64 sandbox needs apt-get and dpkg-deb, which this system does not have",
            remedy="run the arm64 tests on Debian or Ubuntu, or on an arm64 machine",
        )
    shutil.rmtree(SANDBOX, ignore_errors=True)
    SANDBOX.mkdir(parents=True)
    try:
        host = _output("dpkg", "--print-architecture").strip()
        _unpack_packages(["qemu-user-static"], host, SANDBOX / "host", dependencies=False)
        _unpack_packages(["python3", "libstdc++6"], "arm64", SANDBOX / "root", dependencies=True)
        _describe_cpus()
        _unpack_wheels()
    except (subprocess.CalledProcessError, OSError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise MissingRuntimeError(
            f"the arm64 sandbox cannot be built: {detail.strip()[-400:]}",
            remedy="check that the package sources of this machine can be reached",
        ) from error
    for leftover in (*SANDBOX.glob("apt-*"), SANDBOX / "wheels"):
        shutil.rmtree(leftover)
    (SANDBOX / "ready").write_text(_wanted(), "utf-8")


def run(*arguments: str, environment: dict[str, str] | None = None, cpu: str = "cortex-a76") -> str:
    """Run the sandbox's Python with these arguments; returns its standard output."""
    root = SANDBOX / "root"
    variables = {"PYTHONPATH": str(SANDBOX / "site"), **(environment or {})}
    options = [part for pair in variables.items() for part in ("-E", "=".join(pair))]
    qemu = SANDBOX / "host" / "usr" / "bin" / "qemu-aarch64-static"
    command = [qemu, "-cpu", cpu, "-L", root, *options, _python(), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"arm64 run failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _wanted() -> str:
    return f"onnxruntime {version('onnxruntime')} numpy {version('numpy')}"


def _output(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
    return done.stdout


def _python() -> Path:
    return next((SANDBOX / "root" / "usr" / "bin").glob("python3.[0-9]*"))


def _unpack_packages(
    names: list[str], architecture: str, into: Path, *, dependencies: bool
) -> None:
    """Download packages (with what they depend on) into lists of our own and unpack them."""
    apt = SANDBOX / f"apt-{architecture}"
    for folder in ("lists/partial", "cache/archives/partial", "sources"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    _copy_sources(apt / "sources", architecture)
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "APT::Sandbox::User": "root",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": apt / "sources",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Debug::NoLocking": "1",
    }
    common = [part for pair in options.items() for part in ("-o", f"{pair[0]}={pair[1]}")]
    _output("apt-get", *common, "--quiet", "update")
    install = ["install", "--yes", "--no-install-recommends", "--download-only"]
    archives = apt / "cache" / "archives"
    verb = install if dependencies else ["download"]
    _output("apt-get", *common, "--quiet", *verb, *names, cwd=archives)
    for package in sorted(archives.glob("*.deb")):
        _output("dpkg-deb", "--extract", package, into)


def _copy_sources(into: Path, architecture: str) -> None:
    """The machine's own Debian or Ubuntu sources, for another architecture."""
    codename = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)
    name = codename.group(1) if codename else ""
    folder = Path("/etc/apt/sources.list.d")
    for path in [Path("/etc/apt/sources.list"), *sorted(folder.glob("*"))]:
        text = path.read_text("utf-8") if path.is_file() else ""
        if path.suffix == ".sources" and re.search(rf"^Suites:.*\b{name}\b", text, re.M):
            kept = re.sub(r"^Architectures:.*\n", "", text, flags=re.M)
            kept = re.sub(r"^(Types:.*)$", rf"\1\nArchitectures: {architecture}", kept, flags=re.M)
            (into / path.name).write_text(kept, "utf-8")
        elif path.suffix == ".list" and re.search(rf"^deb .*\s{name}\s.*\bmain\b", text, re.M):
            kept = re.sub(r"^deb (\[[^]]*\] )?", f"deb [arch={architecture}] ", text, flags=re.M)
            (into / path.name).write_text(kept, "utf-8")


def _describe_cpus() -> None:
    """Files under the sandbox's /proc and /sys that tell of two arm64 cores."""
    root = SANDBOX / "root"
    cpus = root / "sys" / "devices" / "system" / "cpu"
    for folder in (root / "proc", cpus):
        folder.mkdir(parents=True, exist_ok=True)
    (cpus / "possible").write_text("0-1\n")
    (cpus / "present").write_text("0-1\n")
    cores = [f"processor\t: {index}\n{CPU}" for index in range(2)]
    (root / "proc" / "cpuinfo").write_text("".join(cores))


def _unpack_wheels() -> None:
    """ONNX Runtime and NumPy for the sandbox's Python, in the versions that are installed here."""
    wheels = SANDBOX / "wheels"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(wheels)]
    platforms = [part for name in WHEEL_PLATFORMS for part in ("--platform", name)]
    python = _python().name.removeprefix("python")
    binary = [*platforms, "--python-version", python, "--only-binary=:all:"]
    pinned = [f"{name}=={version(name)}" for name in ("onnxruntime", "numpy")]
    _output(*download, *binary, *pinned)
    _output(*download, "flatbuffers", "packaging", *binary)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(SANDBOX / "site")


if __name__ == "__main__":
    prepare()
    sys.stdout.write(f"{SANDBOX} is ready ({os.uname().machine} host)\n")
