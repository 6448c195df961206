"""Putting filters on the plain tensors of a model, and taking them off."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.utils.parametrize import is_parametrized, register_parametrization, remove_parametrizations

from escnn_soft.convert.exchange import own_class
from escnn_soft.convert.plain.kept_name import keep_name
from escnn_soft.convert.plain.named_stack import Replaced
from escnn_soft.dial import SoftFilter
from escnn_soft.layers import FilteredTensor

__all__ = ["attach", "detach"]


def attach(owner: Module, tensor: str, soft_filter: SoftFilter, replaced: Replaced) -> None:
    """Let a tensor of a module go through a filter; the Parameter object and its name stay, as the unfiltered one's.

    Args:
        owner: the module.
        tensor: the tensor's name in it.
        soft_filter: what it goes through.
        replaced: what to do when another tensor has taken its place.
    """
    own_class(owner)
    if is_parametrized(owner, tensor):
        register_parametrization(owner, tensor, soft_filter, unsafe=True)  # it keeps shape and dtype: nothing to check
    else:
        keep_name(owner, tensor, soft_filter, replaced)


def detach(values: Mapping[FilteredTensor, Tensor], model: Module, *, keep: bool) -> None:
    """Take filters off tensors that nothing else parametrizes, and leave values in their place.

    Args:
        values: what each tensor is to be.
        model: the model that holds them.
        keep: whether to write into the Parameter objects themselves, where no other layer needs their old values, or to
            make new ones.
    """
    writable = _writable(values, model) if keep else set()
    made: dict[int, tuple[Tensor, list[Tensor]]] = {}
    for each, value in values.items():
        original = each.original
        _, others = made.setdefault(id(original), (original, []))
        own_class(each.owner)
        persistent = each.tensor not in each.owner._non_persistent_buffers_set
        remove_parametrizations(each.owner, each.tensor, leave_parametrized=False)
        if id(original) in writable:
            with torch.no_grad():
                original.copy_(value)
            continue
        new = next((other for other in others if torch.equal(other, value)), None)  # tied tensors stay tied
        if new is None:
            new = value.contiguous()
            if isinstance(original, Parameter):
                new = Parameter(new, requires_grad=original.requires_grad)
            others.append(new)
        if isinstance(original, Parameter):
            setattr(each.owner, each.tensor, new)
        else:
            each.owner.register_buffer(each.tensor, new, persistent=persistent)


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
