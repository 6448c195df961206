"""Back to escnn's own classes."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from escnn.nn import EquivariantModule
from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.convert.exchange import become, structural_copy
from escnn_soft.convert.registry import hard_class
from escnn_soft.convert.selection import FilterFn, names_of
from escnn_soft.errors import ArgumentError
from escnn_soft.nn import SoftLayer

__all__ = ["harden"]

AnyModule = TypeVar("AnyModule", bound=Module)

_SOFT_PARAMETERS = ("soft_weights", "soft_bias", "level_logits")
_SOFT_ATTRIBUTES = frozenset({
    "_transform", "_bias_transform", "_gains", "_bias_gains",
    "_basisexpansion", "_functions",  # a module, and so part of the state, wherever escnn's layer has one
    "_in_representations", "_out_representations", "_harmonics", "_policy", "_chain", "_strict", "_cached",
    "_precision",
})  # fmt: skip


def harden(model: AnyModule, *, filter_fn: FilterFn | None = None, inplace: bool = False) -> AnyModule:
    """Exchange the soft layers of a model for escnn's own, which keep the equivariant part of the kernels.

    What breaks the symmetry is dropped, level by level: the result computes what the soft model computes at softness 0.
    The equivariant part of the remainder, beyond escnn's band limit, is dropped too, as escnn cannot hold it. The hard
    layers hold the same Parameter objects; everything else is kept as by :func:`soften`.

    Args:
        model: a model with soft layers; a soft layer itself, perhaps.
        filter_fn: function of a module and its name, whether to harden it; all by default.
        inplace: whether to change the model itself or to return a copy, which shares its Parameters.

    Returns:
        The model with escnn's layers.

    Raises:
        ArgumentError: if the model has no soft layer.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> soft = SoftR2Conv(field, field, kernel_size=3, softness=0.5)
        >>> type(harden(soft))
        <class 'escnn.nn.modules.conv.r2convolution.R2Conv'>
    """
    instance("model", model, Module, "Pass the model that holds the layers.")
    model = model if inplace else structural_copy(model)
    layers = names_of(model, lambda module: isinstance(module, SoftLayer), filter_fn)
    if not layers:
        raise ArgumentError("model", type(model).__name__, "a model with soft layers", "Check filter_fn.")
    for layer in layers:
        become(layer, _hard(layer))
    return model


def _hard(soft: Module) -> EquivariantModule:
    """A layer of the hard class with the soft layer's content, less its softness."""
    assert isinstance(soft, SoftLayer)
    cls: Any = hard_class(soft)
    hard = cls.__new__(cls)
    caches = {soft._kernel_name, "expanded_bias"}  # escnn registers them when it needs them
    left_out = _SOFT_ATTRIBUTES | caches
    vars(hard).update((name, value) for name, value in vars(soft).items() if name not in left_out)
    vars(hard).update(soft._hard_attributes(cls))
    hard._parameters = {name: p for name, p in soft._parameters.items() if name not in _SOFT_PARAMETERS}
    hard._buffers = {name: buffer for name, buffer in soft._buffers.items() if name not in caches}
    hard._non_persistent_buffers_set = soft._non_persistent_buffers_set.difference(caches)
    hard.training = True
    with torch.no_grad():  # escnn would keep the expanded kernel with its graph
        return hard.train(soft.training)
