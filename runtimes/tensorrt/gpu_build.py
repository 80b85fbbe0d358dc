"""Build an engine for the GPU that is here, with TensorRT or TensorRT for RTX, in this process.

What TensorRT needs a GPU for: its engines are built where they run. For RTX the target is this
GPU where it can be named; otherwise none is named, and the plan may run on any.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from attnc.compiler.errors import UnsupportedError
from attnc.runtimes.cuda.driver import Driver
from attnc.runtimes.tensorrt.child import batch_profile, load_plugin, make_logger, parse_errors


def build_here(trt: Any, driver: Driver, request: dict[str, Any]) -> dict[str, Any]:
    """Build `model` into `plan`; `plugin` and `batch` as in `engine.build_engine`.

    Returns size and hash of the plan. Raises UnsupportedError with TensorRT's own words.
    """
    logger = make_logger(trt)
    if request["plugin"]:
        load_plugin(request["plugin"]).register(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(Path(request["model"]).read_bytes()):
        raise _refused(trt, request, "parse the model", parse_errors(parser) or logger.errors)
    config = builder.create_builder_config()
    _target(trt, config, driver.sm)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request["batch"]:
        config.add_optimization_profile(batch_profile(builder, network, request["batch"]))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _refused(trt, request, "build the engine", logger.errors)
    data = bytes(plan)
    Path(request["plan"]).write_bytes(data)
    return {"plan_bytes": len(data), "plan_sha256": hashlib.sha256(data).hexdigest()}


def _strongly_typed(trt: Any) -> int:
    """TensorRT 11 knows no other way, and may drop the flag."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _target(trt: Any, config: Any, sm: str) -> None:
    capabilities = getattr(trt, "ComputeCapability", None)
    named = getattr(capabilities, f"SM{sm}", None)
    if named is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(named, 0)


def _refused(trt: Any, request: dict[str, Any], what: str, words: list[str]) -> UnsupportedError:
    version = f"{trt.__name__} {getattr(trt, '__version__', '')}".strip()
    reason = "; ".join(dict.fromkeys(words)) or "no reason was given"
    return UnsupportedError(f"{version} did not {what}: {reason}", where=request["model"])
