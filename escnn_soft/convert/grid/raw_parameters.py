"""Parameters that act on pixels outside the layers that a dial can be put on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from escnn.nn import EquivariantModule
from torch import Tensor
from torch.nn import Conv2d, ConvTranspose2d, LayerNorm, Module, Parameter
from torch.utils._pytree import tree_leaves

from escnn_soft.convert.grid.grid_breaks import GridBreak, class_name
from escnn_soft.convert.selection import names_of
from escnn_soft.layers import filtered_tensors

__all__ = ["RawWatch", "possible_raw"]

_LAYERS_OWN = ("weight", "bias")
"""What a plain convolution applies itself: whether it has a filter is told elsewhere."""

_aten = torch.ops.aten


def possible_raw(model: Module, known: Iterable[str]) -> tuple[GridBreak, ...]:
    """Parameters that may be kernels or tables of pixels, by their shapes alone.

    Args:
        model: the model.
        known: full names of tensors that are told of elsewhere.

    Returns:
        One entry a parameter with two last axes of more than one element, of modules that are not torch's own, and for
        each norm over positions.
    """
    found = []
    for name, (kind, owner, parameter) in _raw(model, known).items():
        if isinstance(owner, LayerNorm):
            if len(owner.normalized_shape) > 1:
                found.append(GridBreak(name, kind, "differs from position to position and has no filter"))
        elif parameter.ndim > 3 and min(parameter.shape[-2:]) > 1 and not type(owner).__module__.startswith("torch.nn"):
            shape = " x ".join(map(str, parameter.shape))
            reason = f"may be a kernel or a table of pixels ({shape}) and has no filter: pass input_shape to see"
            found.append(GridBreak(name, kind, reason))
    return tuple(found)


class RawWatch:
    """Follows raw parameters through the operations of a run, up to where they meet the image.

    Args:
        model: the model that runs; None to follow the image alone.
        image: its input.
        known: full names of tensors that are told of elsewhere.

    Attributes:
        found: what was found.
    """

    def __init__(self, model: Module | None, image: Tensor, known: Iterable[str]) -> None:
        self.found: list[GridBreak] = []
        raw = {} if model is None else _raw(model, known)
        self._names = {id(parameter): (name, kind) for name, (kind, _, parameter) in raw.items()}
        self._images = {id(image): image}  # tensors are kept: an id is theirs as long as they live
        self._made_of: dict[int, tuple[Tensor, set[int]]] = {
            id(parameter): (parameter, {id(parameter)}) for _, _, parameter in raw.values()
        }

    def follow(self, func: Any, arguments: dict[str, Any], result: Any) -> None:
        """Take note of an operation.

        Args:
            func: the operation.
            arguments: by name.
            result: what it returned.
        """
        inputs = [each for each in tree_leaves(arguments) if isinstance(each, Tensor)]
        outputs = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        sources = {source for each in inputs for source in self._sources(each)}
        if not any(id(each) in self._images for each in inputs):
            self._made_of.update((id(each), (each, sources)) for each in outputs if sources)
            return
        self._images.update((id(each), each) for each in outputs)
        for each in inputs:
            reason = _reason(func, arguments, each, outputs) if self._sources(each) else None
            if reason is not None:
                self.found.extend(GridBreak(*self._names[source], reason) for source in sorted(self._sources(each)))

    def is_image(self, tensor: Tensor) -> bool:
        """Whether a tensor was made of the input."""
        return id(tensor) in self._images

    def _sources(self, tensor: Tensor) -> set[int]:
        """The raw parameters that a tensor was made of."""
        return self._made_of.get(id(tensor), (tensor, set()))[1]


def _raw(model: Module, known: Iterable[str]) -> dict[str, tuple[str, Module, Parameter]]:
    """Kind, owner and value of each parameter that no filter, layer of escnn's or plain convolution applies."""
    covered = set(known)
    steerable = [module for module in model.modules() if isinstance(module, EquivariantModule)]
    found = {}
    for module, names in names_of(model, lambda _: True, None).items():
        if any(module in (each, *each.children()) for each in steerable):
            continue
        own = {each.tensor for each in filtered_tensors(module)}
        own.update(_LAYERS_OWN if isinstance(module, Conv2d | ConvTranspose2d) else ())
        for tensor, parameter in module._parameters.items():
            name = ".".join(filter(None, (names[0], tensor)))
            if parameter is not None and tensor not in own and name not in covered:
                found[name] = class_name(module), module, parameter
    return found


def _reason(func: Any, arguments: dict[str, Any], tensor: Tensor, outputs: list[Tensor]) -> str | None:
    """What an operation does to the image with a tensor that is made of raw parameters; None if no group minds."""
    operation = func.overloadpacket
    if operation is _aten.convolution:
        kernel = tensor is arguments["weight"] and tensor.ndim == 4 and max(tensor.shape[2:]) > 1
        return "is the kernel of a convolution and has no filter" if kernel else None
    if operation is _aten.native_layer_norm:
        over_positions = len(arguments["normalized_shape"]) > 1
        return "differs from position to position and has no filter" if over_positions else None
    if torch.Tag.pointwise in func.tags and outputs and _tells_positions(tensor, outputs[0]):
        shape = " x ".join(map(str, tensor.shape))
        return f"meets the image position by position ({shape}) and has no filter"
    return None


def _tells_positions(tensor: Tensor, image: Tensor) -> bool:
    """Whether a tensor that is broadcast to an image, or to tokens, differs from one position to another."""
    # one axis alone may be that of the channels, in front of the positions or behind them
    shape = (1,) * (image.ndim - tensor.ndim) + tuple(tensor.shape)
    several = [n > 1 for n in shape]
    return (image.ndim == 4 and several[2]) or (image.ndim > 2 and sum(several[1:]) > 1)
