"""What differs between targets in a bisection: lowering again, and running every node alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnc.compiler.bundle import Bundle

if TYPE_CHECKING:
    import onnx_ir as ir

    from attnc.compiler.cli.proving import Traced
    from attnc.runtimes.proof.values import Place


def lowered_again(bundle: Bundle, semantic: ir.Model) -> ir.Model | None:
    """The source's graph after the passes, lowered as the manifest says; None for targets whose
    model file is not made by the CPU's lowering."""
    from attnc.compiler.ops.alone import alone
    from attnc.compiler.ops.base import DOMAIN
    from attnc.compiler.ops.inline import inline_body
    from attnc.targets.cpu.fewer_bits import PRECISIONS, use_fewer_bits
    from attnc.targets.cpu.lower import LOWERED_NAMES, lower
    from attnc.targets.cpu.turn import MAP_TURNS, turn_maps

    if bundle.manifest.target not in ("cpu", "arm64", "android"):
        return None
    bodies = {(v.operator, v.shapes) for v in bundle.manifest.verdicts if v.verdict == "body"}
    model = semantic.clone()
    lower(model)
    for precision in PRECISIONS:
        if precision == bundle.manifest.precision:
            use_fewer_bits(model, precision)
    turn_maps(model)
    for node in [node for node in model.graph if node.domain == DOMAIN]:
        lone = alone(node) if node.op_type in LOWERED_NAMES | MAP_TURNS.keys() else None
        if lone is not None and (node.op_type, lone.label) in bodies:
            inline_body(node)
    return model


def first_wrong(bundle: Bundle, given: Traced, library: Path | None) -> tuple[str, Place | None]:
    """What was looked at, and the first node whose kernel is wrong."""
    import onnx_ir as ir

    from attnc.runtimes.kernels_here import kernels_here
    from attnc.runtimes.proof.nodes import first_wrong_node

    target = bundle.manifest.target
    if target == "web":
        from attnc.compiler.cli.bisecting_web import first_wrong_step

        return "kernels of the web engine", first_wrong_step(bundle, given)
    if target == "coreml":
        from attnc.compiler.cli.bisecting_coreml import first_wrong_block

        return "the program, evaluated", first_wrong_block(bundle)
    if target == "tensorrt":
        return "no kernel: TensorRT's run on its GPU", None
    kernels, _ = kernels_here(bundle)
    used = library or (None if kernels is None else kernels.library)
    place = first_wrong_node(ir.load(bundle.model_path), used, given.feed)
    return ("kernels" if used else "no kernels: the bundle has none that run here"), place
