"""What a caller hands to a program: every input, of an allowed shape, in its declared type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from attnc.compiler.errors import UsageError
from attnc.runtimes.coreml.features import Feature
from attnc.runtimes.coreml.images import picture_values
from attnc.runtimes.coreml.package import Package
from attnc.runtimes.coreml.program import Function, Value
from attnc.runtimes.coreml.types import Array, TensorType

#: Inputs that hold several values, by operation: these stay lists where there is but one.
VARIADIC = {
    "concat": ("values",),
    "einsum": ("values",),
    "make_list": ("elem_shape",),
    "reshape_like": ("ref_tensors", "begins", "ends", "end_masks"),
    "stack": ("values",),
    "while_loop": ("loop_vars",),
}


def accept(
    inputs: Mapping[str, Array | Image.Image], function: Function, package: Package
) -> dict[str, Any]:
    """The function's inputs by name, as it declares them.

    Raises UsageError for a name that is missing or unknown, a wrong shape, type or picture.
    """
    names = [value.name for value in function.inputs]
    if sorted(names) != sorted(inputs):
        raise UsageError(
            f"the inputs are {', '.join(sorted(inputs)) or 'none'}, "
            f"the function takes {', '.join(names) or 'none'}",
            where=f"{package.path}, function {function.name}",
            remedy="give each input once, by its name",
        )
    features = {feature.name: feature for feature in package.inputs}
    return {v.name: accept_one(inputs[v.name], v, features.get(v.name)) for v in function.inputs}


def accept_one(given: Array | Image.Image, value: Value, feature: Feature | None) -> Array:
    """One input as an array of the declared type."""
    where = f"input '{value.name}'"
    if isinstance(given, Image.Image):
        if feature is None or feature.kind != "image":
            raise UsageError("it takes no picture", where=where, remedy="give an array")
        return picture_values(given, feature)
    array = np.asarray(given)
    allowed = feature.allowed if feature is not None else ()
    if not isinstance(value.type, TensorType):
        raise UsageError("it is no tensor", where=where, remedy="use another function")
    if not value.type.fits(array.shape) or (allowed and array.shape not in allowed):
        shapes = " or ".join(str(list(shape)) for shape in allowed) or str(value.type)
        raise UsageError(
            f"the array has shape {list(array.shape)}, not {shapes}",
            where=where,
            remedy="give an array of that shape",
        )
    return converted(array, value.type, where)


def converted(array: Array, type_: TensorType, where: str) -> Array:
    """Any numbers as floats, whole numbers as integers that can hold them."""
    storage = type_.storage
    with np.errstate(all="ignore"):
        result = array.astype(storage) if array.dtype.kind in "fiub" else array
    exact = storage.kind == "f" or (array.dtype.kind in "iub" and np.array_equal(result, array))
    if array.dtype.kind not in "fiub" or not exact:
        raise UsageError(
            f"the array holds {array.dtype} values that are no {type_.dtype}",
            where=where,
            remedy=f"give an array of {storage}",
        )
    return result
