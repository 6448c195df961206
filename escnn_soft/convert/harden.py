"""Back to escnn's and torch's own classes."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from escnn.nn import EquivariantModule
from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.convert.exchange import become, structural_copy
from escnn_soft.convert.filters import FilteredTensor, detach, filtered_tensors
from escnn_soft.convert.registry import hard_class
from escnn_soft.convert.selection import FilterFn, names_of
from escnn_soft.errors import ArgumentError
from escnn_soft.nn import SoftLayer

__all__ = ["bake", "harden"]

AnyModule = TypeVar("AnyModule", bound=Module)

_SOFT_PARAMETERS = ("soft_weights", "soft_bias", "level_logits")
_SOFT_ATTRIBUTES = frozenset({
    "_transform", "_bias_transform", "_gains", "_bias_gains",
    "_basisexpansion", "_functions",  # a module, and so part of the state, wherever escnn's layer has one
    "_in_representations", "_out_representations", "_harmonics", "_policy", "_chain", "_strict", "_cached",
    "_precision",
})  # fmt: skip


def harden(model: AnyModule, *, filter_fn: FilterFn | None = None, inplace: bool = False) -> AnyModule:
    """Make the soft layers of a model strict for good: the result computes what it computes at softness 0.

    What breaks the symmetry is dropped, level by level. Soft layers turn into escnn's own, which keep the equivariant
    part of the kernels and hold the same Parameter objects; the equivariant part of the remainder, beyond escnn's band
    limit, is dropped too, as escnn cannot hold it. Filtered weights of plain layers turn into plain weights with the
    equivariant part; the filters are gone. Everything else is kept as by :func:`soften`.

    Args:
        model: a model with soft layers or filters; a soft layer itself, perhaps.
        filter_fn: function of a module and its name, whether to harden it; all by default.
        inplace: whether to change the model itself or to return a copy, which shares its Parameters, except those of
            filtered weights, whose values change.

    Returns:
        The model with escnn's and torch's layers.

    Raises:
        ArgumentError: if the model has no soft layer, or something else parametrizes a filtered weight.

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
    filtered = _filtered(model, filter_fn)
    if not layers and not filtered:
        raise ArgumentError("model", type(model).__name__, "a model with soft layers", "Check filter_fn.")
    detach(filtered, [each.filter.strict(each.original) for each in filtered], model, keep=inplace)
    for layer in layers:
        become(layer, _hard(layer))
    return model


def bake(model: AnyModule, *, filter_fn: FilterFn | None = None, inplace: bool = False) -> AnyModule:
    """Take the filters off a model of plain layers and leave the filtered weights: it computes the same function.

    Args:
        model: a model with filters. Soft layers of escnn's stay as they are: they have ``export()``.
        filter_fn: function of a module and its name, whether to bake it; all by default.
        inplace: whether to change the model itself, where the filtered values are written into the Parameters, or to
            return a copy, which shares the model's other Parameters.

    Returns:
        The model with plain weights.

    Raises:
        ArgumentError: if the model has no filter, or something else parametrizes a filtered weight.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import soften
        >>> soft = soften(torch.nn.Conv2d(3, 8, 3), 0.5, gspace=gspaces.rot2dOnR2(4))
        >>> bake(soft)
        Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
    """
    instance("model", model, Module, "Pass the model that holds the layers.")
    model = model if inplace else structural_copy(model)
    filtered = _filtered(model, filter_fn)
    if not filtered:
        remedy = "Use soften with a gspace, or check filter_fn; soft layers of escnn's have export()."
        raise ArgumentError("model", type(model).__name__, "a model with filters", remedy)
    detach(filtered, [each.value.clone() for each in filtered], model, keep=inplace)
    return model


def _filtered(model: Module, filter_fn: FilterFn | None) -> list[FilteredTensor]:
    holders = names_of(model, lambda module: bool(filtered_tensors(module)), filter_fn)
    filtered = [each for holder in holders for each in filtered_tensors(holder)]
    for each in filtered:
        each.check_alone()
    return filtered


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
