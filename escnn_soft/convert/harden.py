"""Back to escnn's and torch's own classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

from torch import Tensor
from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.convert.exchange import become, carry_hooks, structural_copy
from escnn_soft.convert.plain.plain_dials import detach
from escnn_soft.convert.plain.resizing import guard_resizing
from escnn_soft.convert.selection import FilterFn, dials_of
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import Dialled, FilteredTensor

__all__ = ["bake", "harden"]

AnyModule = TypeVar("AnyModule", bound=Module)


def harden(model: AnyModule, *, filter_fn: FilterFn | None = None, inplace: bool = False) -> AnyModule:
    """Make the soft layers of a model strict for good: the result computes what it computes at softness 0.

    What breaks the symmetry is dropped, level by level: :func:`soft_status` tells beforehand how much of each layer's
    energy that is. Soft layers turn into escnn's own, which keep the equivariant
    part of the kernels and hold the same Parameter objects; the equivariant part of the remainder, beyond escnn's band
    limit, is dropped too, as escnn cannot hold it. Filtered weights of plain layers turn into plain weights with the
    equivariant part, matrix layers into ``torch.nn.Linear``: further training can break the symmetry there. Layers in
    projected training turn into escnn's too. Everything else is kept as by :func:`soften`.

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
    dials = dials_of(model, filter_fn)
    if not dials:
        raise ArgumentError("model", model, "a model with soft layers", "Check filter_fn.")
    _replace(model, {dial: dial.hardened() for dial in dials}, keep=inplace)
    return model


def bake(model: AnyModule, *, filter_fn: FilterFn | None = None, inplace: bool = False) -> AnyModule:
    """Take the dials off a model of plain layers and leave the weights as they are used: it computes the same function.

    Filtered weights turn into plain ones, matrix layers into ``torch.nn.Linear``.

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
    dials = [dial for dial in dials_of(model, filter_fn) if dial.plain]
    if not dials:
        remedy = "Use soften with a gspace, or check filter_fn; soft layers of escnn's have export()."
        raise ArgumentError("model", model, "a model with filters", remedy)
    _replace(model, {dial: dial.baked() for dial in dials}, keep=inplace)
    return model


def _replace(model: Module, news: Mapping[Dialled, Module | Tensor], *, keep: bool) -> None:
    """Put something without a dial in the place of each dial."""
    tensors = {cast("FilteredTensor", dial): new for dial, new in news.items() if isinstance(new, Tensor)}
    detach(tensors, model, keep=keep)
    guard_resizing(model)
    for dial, new in news.items():
        if isinstance(dial, Module) and isinstance(new, Module):
            carry_hooks(dial, new)
            become(dial, new)
