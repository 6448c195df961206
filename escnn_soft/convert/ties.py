"""Layers that share their weights share what the softness adds to them."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import Module

from escnn_soft.dial import DialHolder, as_policy
from escnn_soft.layers import SoftLayer, filtered_tensors

__all__ = ["tie"]

_BESIDE = (("weights", "soft_weights"), ("bias", "soft_bias"), ("weights", "level_logits"))
"""escnn's own parameters, and the soft ones that go with them."""


def tie(model: Module) -> None:
    """Let the layers of a model that share a Parameter share the soft ones beside it, where these mean the same.

    Without it training would move tied layers apart: escnn's own weights are one Parameter, the soft ones would be two.
    Where two layers that share weights have other levels (other fields, kernels or chains), or have been trained apart
    already, they keep their own.

    Args:
        model: any module.
    """
    first: dict[tuple[Any, ...], DialHolder] = {}
    for module in model.modules():
        if isinstance(module, SoftLayer):
            fields = module.in_type, module.out_type
            for strict, soft in _BESIDE:
                _share(first, module, soft, (module._parameters.get(strict), *fields))
        for each in filtered_tensors(module):
            stacks: Any = each.owner.parametrizations
            _share(first, each.filter, "level_logits", (getattr(stacks[each.tensor], "original", None),))


def _share(first: dict[tuple[Any, ...], DialHolder], holder: DialHolder, name: str, beside: tuple[Any, ...]) -> None:
    """Take the Parameter of this name over from the first holder beside the same tensor, between the same fields."""
    tensor, *fields = beside
    own = holder._parameters.get(name)
    if tensor is None or own is None:
        return
    other = first.setdefault((id(tensor), name, type(holder), *fields), holder)
    theirs = other._parameters.get(name)
    if other is holder or theirs is None or other.levels != holder.levels or not torch.equal(theirs, own):
        return
    if name != "level_logits" or as_policy(other.softness) == as_policy(holder.softness):
        holder.register_parameter(name, theirs)
        holder._forget()
