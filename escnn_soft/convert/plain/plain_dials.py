"""Putting filters on the plain tensors of a model, and taking them off."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations

from escnn_soft.convert.exchange import own_class
from escnn_soft.dial import SoftFilter
from escnn_soft.layers import FilteredTensor

__all__ = ["attach", "detach"]


def attach(owner: Module, tensor: str, soft_filter: SoftFilter) -> None:
    """Let a tensor of a module go through a filter; the Parameter object stays, as the unfiltered one."""
    own_class(owner)
    register_parametrization(owner, tensor, soft_filter, unsafe=True)  # it keeps shape and dtype: nothing to check


def detach(values: Mapping[FilteredTensor, Tensor], model: Module, *, keep: bool) -> None:
    """Take filters off tensors that nothing else parametrizes, and leave values in their place.

    Args:
        values: what each tensor is to be.
        model: the model that holds them.
        keep: whether to write into the Parameter objects themselves, where no other layer needs their old values, or to
            make new ones.
    """
    writable = _writable(values, model) if keep else set()
    for each, value in values.items():
        original = each.original
        own_class(each.owner)
        remove_parametrizations(each.owner, each.tensor, leave_parametrized=False)
        if id(original) in writable:
            with torch.no_grad():
                original.copy_(value)
        elif isinstance(original, Parameter):
            setattr(each.owner, each.tensor, Parameter(value.contiguous(), requires_grad=original.requires_grad))
        else:
            each.owner.register_buffer(each.tensor, value)


def _writable(values: Mapping[FilteredTensor, Tensor], model: Module) -> set[int]:
    """Ids of the original tensors that only these filters use, all of them with the same result."""
    users: dict[int, int] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            users[id(tensor)] = users.get(id(tensor), 0) + 1
    results: dict[int, list[Tensor]] = {}
    for each, value in values.items():
        results.setdefault(id(each.original), []).append(value)
    return {
        key for key, same in results.items() if users[key] == len(same) and all(torch.equal(same[0], v) for v in same)
    }
