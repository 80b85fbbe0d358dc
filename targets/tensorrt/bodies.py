"""Function bodies for the plugins of a bundle, in its precision and opset.

Bodies are written for float32. In a graph of another precision they compute in float32 all the
same, as the kernels do:   x -> Cast(float) -> body -> CastLike(x) -> y
"""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

from attnc.compiler.ops.base import DOMAIN, DOMAIN_VERSION, Operator
from attnc.compiler.ops.registry import get

#: Inputs and outputs that are indices, whatever the precision.
INTEGERS = frozenset({"index"})


def attach_functions(model: ir.Model, precision: str) -> list[str]:
    """Give the model the bodies of its plugins; returns the operators' names."""
    version = model.graph.opset_imports[""]
    used = sorted({node.op_type for node in model.graph if node.domain == DOMAIN})
    for name in used:
        function = body_of(get(name), precision)
        function.opset_imports[""] = version
        plain_constants(function)
        model.functions[function.identifier()] = function
    if used:
        model.graph.opset_imports[DOMAIN] = DOMAIN_VERSION
    return used


def plain_constants(function: ir.Function) -> None:
    """Constants as tensors: ONNX GraphSurgeon makes float64 of a `value_float`."""
    for node in function:
        if node.op_type != "Constant" or "value" in node.attributes:
            continue
        (given,) = node.attributes.values()
        if not given.is_ref():
            integers = given.type in (ir.AttributeType.INT, ir.AttributeType.INTS)
            array = np.array(given.value, np.int64 if integers else np.float32)
            node.attributes.clear()
            node.attributes.add(ir.AttrTensor("value", ir.tensor(array)))


def body_of(operator: Operator, precision: str) -> ir.Function:
    """The operator's body for inputs and outputs of this precision."""
    if precision == "fp32":
        return operator.function()
    import onnx.parser

    return ir.serde.deserialize_function(onnx.parser.parse_function(_cast_text(operator)))


def _cast_text(operator: Operator) -> str:
    floats = [name for name in operator.inputs if name not in INTEGERS]
    results = [name for name in operator.outputs if name not in INTEGERS]
    text = operator.text()
    signature = f"({', '.join(operator.inputs)}) => ({', '.join(operator.outputs)})\n{{\n"
    given = ", ".join(f"{n}_given" if n in floats else n for n in operator.inputs)
    taken = ", ".join(f"{n}_result" if n in results else n for n in operator.outputs)
    before = "".join(f"  {name} = Cast <to: int = 1> ({name}_given)\n" for name in floats)
    after = "".join(f"  {n}_result = CastLike ({n}, {floats[0]}_given)\n" for n in results)
    assert signature in text
    text = text.replace(signature, f"({given}) => ({taken})\n{{\n{before}")
    return re.sub(r"\n}$", f"\n{after}}}", text)
