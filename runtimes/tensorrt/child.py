"""Builds one engine, in a process of its own: the parser may abort it.

python -m attnc.runtimes.tensorrt.child REQUEST ANSWER
Reads the request (JSON, see `engine.py`) and writes the answer: layers, or errors.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from attnc.runtimes.tensorrt.layers import MARK

_ASK, _FIXED_ADDRESSES = 0xFFFFFFFF, 0x0040000  # of Linux' personality
_STARTED_AGAIN = "ATTNC_ENGINE_STARTED_AGAIN"
#: All that Python needs of the environment, to find what is installed.
_KEPT = ("HOME", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR")


def main() -> None:
    """Answer the request."""
    fix_addresses()
    sys.dont_write_bytecode = True  # beside the plugin.py of a bundle
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        answer = build(request)
    except Exception as error:  # of the plugins, which are files beside the model
        answer = {"errors": [f"{type(error).__name__}: {error}"], "stage": "prepare"}
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


def fix_addresses() -> None:
    """Start this process again with the same addresses each time: TensorRT numbers some values by
    them, so that two builds differ otherwise. Where that is not allowed it goes on as it is."""
    if not sys.platform.startswith("linux") or _STARTED_AGAIN in os.environ:
        return
    libc = ctypes.CDLL(None)
    now = libc.personality(_ASK)
    if now != -1 and libc.personality(now | _FIXED_ADDRESSES) != -1:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        settled = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", _STARTED_AGAIN: "1"}
        os.execve(sys.executable, sys.orig_argv, kept | settled)


def build(request: dict[str, Any]) -> dict[str, Any]:
    """The answer: {"layers": text, "plan_bytes": n, "warnings"} or {"errors": [...]}."""
    import tensorrt_rtx as trt

    logger = make_logger(trt)
    if request["plugin"]:
        load_plugin(request["plugin"]).register(trt)
    builder = trt.Builder(logger)
    flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flag)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(Path(request["model"]).read_bytes()):
        return {"errors": parse_errors(parser) or logger.errors, "stage": "parse"}
    config = builder.create_builder_config()
    refused = _set_targets(trt, config, request["sms"])
    if refused:
        return {"errors": [f"TensorRT for RTX builds nothing for sm_{refused}"], "stage": "target"}
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request["batch"]:
        config.add_optimization_profile(batch_profile(builder, network, request["batch"]))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return {"errors": logger.errors or ["no reason was given"], "stage": "build"}
    data = bytes(plan)
    if request["plan"]:
        Path(request["plan"]).write_bytes(data)
    return {
        "layers": logger.layers,
        "plan_bytes": len(data),
        "plan_sha256": _sha256(data),
        "warnings": logger.warnings,
    }


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def make_logger(trt: Any) -> Any:
    """A logger that keeps errors, warnings and the list of layers."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps errors, warnings, and the list of layers, which is a verbose message."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []
            self.layers = ""

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT."""
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.WARNING:
                self.warnings.append(message)
            elif message.startswith(MARK):
                self.layers = message

    return Logger()


def load_plugin(path: str) -> Any:
    """The module of a bundle's plugin.py."""
    spec = importlib.util.spec_from_file_location("attnc_bundle_plugin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def parse_errors(parser: Any) -> list[str]:
    """What the parser refused, with the nodes."""
    found = [parser.get_error(index) for index in range(parser.num_errors)]
    return [
        f"node {error.node_name()!r} ({error.node_operator()}): {error.desc()} "
        f"({error.code().name})"
        for error in found
    ]


def _set_targets(trt: Any, config: Any, sms: list[str]) -> str | None:
    """Name the compute capabilities; returns the first that TensorRT refuses."""
    config.num_compute_capabilities = len(sms)
    for index, sm in enumerate(sms):
        capability = getattr(trt.ComputeCapability, f"SM{sm}", None)
        if capability is None or config.set_compute_capability(capability, index) is False:
            return sm
    return None


def batch_profile(builder: Any, network: Any, batches: list[int]) -> Any:
    """Least, usual and most pictures per call, for every input."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, *((batch, *rest) for batch in batches))
    return profile


if __name__ == "__main__":
    main()
