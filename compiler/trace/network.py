"""Names, factories and modules: everything that comes to us as a torch network."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from attnc.compiler.errors import AttncError, UnsupportedError, UsageError
from attnc.compiler.manifest import Preprocessing, SourceInfo
from attnc.model_defs.registry import (
    ModelConfig,
    ModelError,
    UnknownModelError,
    build_model,
    load_checkpoint,
    model_config,
    shipped_weights,
    uses_shipped_weights,
)

from .factory import build_from_factory
from .hashing import hash_file, hash_state_dict
from .quiet import one_line
from .request import check_image_size
from .traced import Request

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

#: Before the name of a checkpoint that comes with the model's package.
SHIPPED = "attnc:"


@dataclass(frozen=True)
class Network:
    """A float32 module in eval mode on the CPU, and what is known about its input."""

    module: nn.Module
    name: str
    image_size: tuple[int, int]
    preprocessing: Preprocessing | None
    source: SourceInfo
    channels: int = 3


def translate(error: ModelError) -> AttncError:
    """The same refusal in the compiler's own terms."""
    return UsageError(error.message, where=error.where, remedy=error.remedy)


def _from_timm(module: nn.Module) -> ModelConfig | None:
    """The default configuration that timm's models carry, if this is one."""
    facts = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    if not isinstance(facts, dict) or "input_size" not in facts:
        return None
    known = {
        key: facts[key] for key in ("mean", "std", "crop_pct", "interpolation") if key in facts
    }
    known |= {key: tuple(known[key]) for key in ("mean", "std") if key in known}
    height, width = facts["input_size"][1:]
    return ModelConfig("", "timm", image_size=(height, width), minimum_size=1, **known)


def _config_of(module: nn.Module) -> ModelConfig | None:
    own = getattr(module, "attnc_config", None)
    return own if isinstance(own, ModelConfig) else _from_timm(module)


def _preprocessing(config: ModelConfig | None, image_size: tuple[int, int]) -> Preprocessing | None:
    if config is None:
        return None
    return Preprocessing(
        image_size=image_size,
        crop_fraction=config.crop_pct,
        interpolation=config.interpolation,  # type: ignore[arg-type]  # checked when validated
        mean=config.mean,
        std=config.std,
    )


def _image_size(config: ModelConfig | None, request: Request, name: str) -> tuple[int, int]:
    size = request.image_size or (config.image_size if config else None)
    if size is None:
        raise UsageError(
            f"{name} does not say for which image size it is meant",
            where=name,
            remedy="--image-size 224 (image_size=224 in Python)",
        )
    if config is not None and min(size) < config.minimum_size:
        raise UsageError(
            f"{name} cannot take images of {size[0]}x{size[1]} pixels",
            where=name,
            remedy=f"height and width of at least {config.minimum_size}",
        )
    multiple = config.size_multiple if config is not None else 1
    if any(extent % multiple for extent in size):
        raise UsageError(
            f"{name} cannot take images of {size[0]}x{size[1]} pixels",
            where=name,
            remedy=f"height and width that are multiples of {multiple}",
        )
    return size


def _made_for_size(config: ModelConfig, request: Request, name: str) -> Request:
    """The request whose image size and option for it agree, for models with such an option."""
    option, size = config.size_option, request.image_size
    given = request.options.get(option) if option else None
    if not option or (size is None and not isinstance(given, int)):
        return request
    if size is None:
        return replace(request, image_size=check_image_size(given))
    if size[0] != size[1]:
        raise UsageError(
            f"{name} takes square images only, not {size[0]}x{size[1]} pixels", where=name
        )
    if given is not None and given != size[0]:
        raise UsageError(
            f"the option {option} is {given}, but the image size {size[0]}",
            where=name,
            remedy="leave one of them out",
        )
    if given is None and size == config.image_size:
        return request
    return replace(request, options={**request.options, option: size[0]})


def _own_copy(module: nn.Module, name: str) -> nn.Module:
    """A copy in eval mode, so that the caller's module stays as it is."""
    try:
        own = copy.deepcopy(module).eval().cpu()
    except Exception as error:  # modules may hold anything
        raise UnsupportedError(f"{name} cannot be copied: {one_line(error)}", where=name) from error
    for key, tensor in own.state_dict().items():
        if tensor.dtype.is_floating_point and str(tensor.dtype) != "torch.float32":
            raise UnsupportedError(
                f"{name} has {tensor.dtype} weights; float32 ones are needed",
                where=key,
                remedy="model.float() before the export",
            )
    return own.requires_grad_(False)


def _network(
    module: nn.Module, kind: Any, name: str, request: Request, shipped: Path | None = None
) -> Network:
    config = _config_of(module)
    size = _image_size(config, request, name)
    checkpoint, mark = request.checkpoint or shipped, SHIPPED if shipped else ""
    source = SourceInfo(
        kind=kind,
        name=name,
        options=_recorded(request),
        seed=request.seed if kind == "registry" and checkpoint is None else None,
        checkpoint_name=mark + checkpoint.name if checkpoint else None,
        checkpoint_sha256=hash_file(checkpoint) if checkpoint else None,
        weights_sha256=hash_state_dict(module.state_dict()),
    )
    channels = config.in_channels if config else 3
    # A layer's feature map is no picture: nothing is known about preparing one.
    prepared = _preprocessing(config, size) if channels == 3 else None
    return Network(module, name, size, prepared, source, channels)


def _recorded(request: Request) -> dict[str, Any]:
    classes = {} if request.num_classes is None else {"num_classes": request.num_classes}
    return {**request.options, **classes}


def from_registry(name: str, request: Request) -> Network:
    """One of the listed models: with a checkpoint, its own trained weights, or seeded ones."""
    try:
        # The cheap checks first: name, then size, then weights.
        request = _made_for_size(model_config(name), request, name)
        _image_size(model_config(name), request, name)
        module = build_model(
            name,
            num_classes=request.num_classes,
            checkpoint=request.checkpoint,
            seed=request.seed,
            **request.options,
        )
        trained = uses_shipped_weights(name, request.checkpoint, request.seed)
        shipped = shipped_weights(name) if trained else None
    except UnknownModelError as error:
        remedy = f"{error.remedy}; or a .onnx or .pt2 file, or package.module:factory"
        raise UsageError(error.message, remedy=remedy) from error
    except ModelError as error:
        raise translate(error) from error
    return _network(module, "registry", name, request, shipped)


def _with_checkpoint(module: nn.Module, name: str, request: Request) -> None:
    if request.checkpoint is not None:
        try:
            load_checkpoint(module, request.checkpoint, name=name)
        except ModelError as error:
            raise translate(error) from error


def from_factory(spec: str, request: Request) -> Network:
    """`package.module:factory`."""
    own = _own_copy(build_from_factory(spec, request), spec)
    _with_checkpoint(own, spec, request)
    return _network(own, "factory", spec, request)


def from_module(module: nn.Module, request: Request) -> Network:
    """A module handed over in Python; it is copied and stays as it is."""
    config = getattr(module, "attnc_config", None)
    name = config.name if isinstance(config, ModelConfig) else type(module).__name__
    if request.num_classes is not None or request.options:
        raise UsageError(f"{name} is built already: num_classes and options come too late")
    own = _own_copy(module, name)
    _with_checkpoint(own, name, request)
    return _network(own, "module", name, request)
