"""Layers that share their weights share what the softness adds to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from escnn_soft.dial import DialHolder, as_policy
from escnn_soft.layers import SoftLayer, filtered_tensors
from escnn_soft.layers.truncation import FACTORS

__all__ = ["tie"]

_BESIDE = (("weights", FACTORS), ("bias", ("soft_bias",)), ("weights", ("level_logits",)))
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
            fields = module.in_type, module.out_type, module.rank
            for strict, soft in _BESIDE:
                _share(first, module, soft, (module._parameters.get(strict), *fields))
        for each in filtered_tensors(module):
            stacks: Any = each.owner.parametrizations
            _share(first, each.filter, ("level_logits",), (getattr(stacks[each.tensor], "original", None),))


def _share(
    first: dict[tuple[Any, ...], DialHolder], holder: DialHolder, names: Sequence[str], beside: tuple[Any, ...]
) -> None:
    """Take Parameters of these names over from the first holder beside the same tensor, between the same fields."""
    tensor, *fields = beside
    own = {name: p for name in names if (p := holder._parameters.get(name)) is not None}
    if tensor is None or names[0] not in own:
        return
    other = first.setdefault((id(tensor), names[0], type(holder), *fields), holder)
    theirs = {name: p for name in own if (p := other._parameters.get(name)) is not None}
    if other is holder or theirs.keys() != own.keys() or other.levels != holder.levels or not _same(own, theirs):
        return
    if names[0] != "level_logits" or as_policy(other.softness) == as_policy(holder.softness):
        for name, parameter in theirs.items():
            holder.register_parameter(name, parameter)
        holder._forget()


def _same(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    """Whether Parameters mean the same: the factors of a rank do, whatever they are, while their products are zero."""
    untrained = len(own) > 1 and not any(bool(each["soft_weights"].any()) for each in (own, theirs))
    return untrained or all(torch.equal(own[name], theirs[name]) for name in own)
