"""Dials on the plain tensors of a model: where they are, and putting them on and taking them off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.utils.parametrize import is_parametrized, register_parametrization, remove_parametrizations

from escnn_soft.convert.exchange import own_class
from escnn_soft.convert.selection import FilterFn, names_of
from escnn_soft.errors import ArgumentError
from escnn_soft.nn import SoftFilter, SoftLayer

__all__ = ["FilteredTensor", "attach", "detach", "dial_name", "dials_of", "filtered_tensors"]

_OF_THE_LAYER = ("weight", "bias")
"""Tensors whose dial goes by the layer's own name."""


@dataclass(frozen=True)
class FilteredTensor:
    """A tensor of a module that goes through a filter.

    Attributes:
        owner: the module.
        tensor: the tensor's name in it.
        filter: what it goes through.
    """

    owner: Module
    tensor: str
    filter: SoftFilter

    @property
    def original(self) -> Tensor:
        """The unfiltered tensor."""
        parametrizations: Any = self.owner.parametrizations
        return parametrizations[self.tensor].original

    @property
    def value(self) -> Tensor:
        """The tensor as the module uses it, filtered."""
        with torch.no_grad():
            return getattr(self.owner, self.tensor)

    def check_alone(self) -> None:
        """Refuse a tensor that something else parametrizes too."""
        parametrizations: Any = self.owner.parametrizations
        if len(parametrizations[self.tensor]) > 1:
            expected = "a tensor that only its filter parametrizes"
            remedy = "Take off the other parametrizations first, with torch.nn.utils.parametrize."
            raise ArgumentError("filtered tensor", f"{type(self.owner).__name__}.{self.tensor}", expected, remedy)

    def name(self, owner: str) -> str:
        """What the dial is called, given the name of its module."""
        return dial_name(owner, self.tensor)


def dial_name(owner: str, tensor: str) -> str:
    """What a filter's dial is called: as the layer for its weight and bias, as any other tensor by itself.

    Args:
        owner: name of the module that holds the tensor.
        tensor: the tensor's name in it.

    Returns:
        The name.
    """
    return owner if tensor in _OF_THE_LAYER else ".".join(filter(None, (owner, tensor)))


def filtered_tensors(module: Module) -> tuple[FilteredTensor, ...]:
    """The tensors of a module itself that go through a filter.

    Args:
        module: any module.

    Returns:
        One entry a filter.
    """
    return tuple(_filtered(module)) if is_parametrized(module) else ()


def _filtered(module: Module) -> Iterator[FilteredTensor]:
    parametrizations: Any = module.parametrizations
    for tensor, stack in parametrizations.items():
        yield from (FilteredTensor(module, tensor, f) for f in stack if isinstance(f, SoftFilter))


def dials_of(model: Module, filter_fn: FilterFn | None) -> dict[Module, list[str]]:
    """The soft layers and filters of a model, in order, each with all its names.

    Args:
        model: the model.
        filter_fn: function of a layer, or of the module that holds a filtered tensor, and its name; None means all.

    Returns:
        Names by soft layer or filter; the filters of a layer's weight and bias go by the layer's name.
    """
    holders = names_of(model, lambda m: isinstance(m, SoftLayer) or bool(filtered_tensors(m)), filter_fn)
    dials: dict[Module, list[str]] = {}
    for holder, names in holders.items():
        if isinstance(holder, SoftLayer):
            dials[holder] = names
        for filtered in filtered_tensors(holder):
            dials[filtered.filter] = [filtered.name(name) for name in names]
    return dials


def attach(owner: Module, tensor: str, soft_filter: SoftFilter) -> None:
    """Let a tensor of a module go through a filter; the Parameter object stays, as the unfiltered one.

    Args:
        owner: the module.
        tensor: the tensor's name in it.
        soft_filter: the filter.
    """
    own_class(owner)
    register_parametrization(owner, tensor, soft_filter, unsafe=True)  # it keeps shape and dtype: nothing to check


def detach(filtered: Sequence[FilteredTensor], values: Sequence[Tensor], model: Module, *, keep: bool) -> None:
    """Take filters off tensors that nothing else parametrizes, and leave values in their place.

    Args:
        filtered: the tensors.
        values: what each is to be.
        model: the model that holds them.
        keep: whether to write into the Parameter objects themselves, where no other layer needs their old values, or to
            make new ones.
    """
    writable = _writable(filtered, values, model) if keep else set()
    for each, value in zip(filtered, values, strict=True):
        original = each.original
        own_class(each.owner)
        remove_parametrizations(each.owner, each.tensor, leave_parametrized=False)
        if id(original) in writable:
            with torch.no_grad():
                original.copy_(value)
        elif isinstance(original, Parameter):
            setattr(each.owner, each.tensor, Parameter(value, requires_grad=original.requires_grad))
        else:
            each.owner.register_buffer(each.tensor, value)


def _writable(filtered: Sequence[FilteredTensor], values: Sequence[Tensor], model: Module) -> set[int]:
    """Ids of the original tensors that only these filters use, all of them with the same result."""
    users: dict[int, int] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            users[id(tensor)] = users.get(id(tensor), 0) + 1
    results: dict[int, list[Tensor]] = {}
    for each, value in zip(filtered, values, strict=True):
        results.setdefault(id(each.original), []).append(value)
    return {
        key for key, same in results.items() if users[key] == len(same) and all(torch.equal(same[0], v) for v in same)
    }
