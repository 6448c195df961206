"""escnn's own layer with the content of a soft one."""

from __future__ import annotations

from typing import Any

import torch
from escnn.nn import EquivariantModule
from torch.nn import ModuleDict
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft.dial import SoftModule
from escnn_soft.layers.expansion import ExpandedLayer

__all__ = ["hard_class", "without_softness"]

_SOFT_PARAMETERS = ("soft_weights", "soft_out", "soft_in", "soft_bias", "level_logits")
_SOFT_ATTRIBUTES = frozenset({
    "_basisexpansion", "_functions",  # a module, and so part of the state, wherever escnn's layer has one
    "_dials", "_here", "_in_representations", "_out_representations", "_harmonics", "_chain", "_kept", "_precision",
    "_strict", "_syntheses", "_low_rank",
})  # fmt: skip


def hard_class(layer: EquivariantModule) -> type[EquivariantModule]:
    """The hard class that a soft layer extends: the nearest base that is not soft."""
    made_of = ExpandedLayer.__mro__  # what a soft layer is made of is not hard either
    candidates = (cls for cls in type(layer).__mro__ if issubclass(cls, EquivariantModule))
    return next(cls for cls in candidates if cls not in made_of and not issubclass(cls, SoftModule))


def without_softness(layer: Any) -> EquivariantModule:
    """A layer of a soft layer's hard class, with the same Parameter objects, less the soft ones."""
    cls: Any = hard_class(layer)
    hard = cls.__new__(cls)
    caches = {layer._kernel_name, "expanded_bias"}  # escnn registers them when it needs them
    left_out = _SOFT_ATTRIBUTES | caches
    vars(hard).update((name, value) for name, value in vars(layer).items() if name not in left_out)
    vars(hard).update(layer._hard_attributes(cls))
    hard._parameters = {name: p for name, p in layer._parameters.items() if name not in _SOFT_PARAMETERS}
    hard._buffers = {name: buffer for name, buffer in layer._buffers.items() if name not in caches}
    hard._non_persistent_buffers_set = layer._non_persistent_buffers_set.difference(caches)
    _parametrize(layer, hard, cls)
    hard.training = True
    with torch.no_grad():  # escnn would keep the expanded kernel with its graph
        result: EquivariantModule = hard.train(layer.training)
        return result


def _parametrize(layer: Any, hard: Any, cls: type[EquivariantModule]) -> None:
    """Keep the parametrizations of what the hard layer has too, with their properties on its class."""
    if not is_parametrized(layer):
        return
    kept = {name: stack for name, stack in layer.parametrizations.items() if name not in _SOFT_PARAMETERS}
    hard._modules = {name: module for name, module in layer._modules.items() if name != "parametrizations"}
    if kept:
        hidden = {"__dict__", "__weakref__", *(layer.parametrizations.keys() - kept.keys())}
        content = {name: value for name, value in vars(type(layer)).items() if name not in hidden}
        hard._modules["parametrizations"] = ModuleDict(kept)
        hard.__class__ = type(f"Parametrized{cls.__name__}", (cls,), content)
