"""Networks without escnn's expansions: plain torch modules, which is what exporters take."""

from __future__ import annotations

from typing import TypeVar

from escnn.nn import EquivariantModule, GeometricTensor
from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.convert import bake, soften
from escnn_soft.convert.exchange import structural_copy
from escnn_soft.layers import SoftLayer, dials

__all__ = ["plain"]

_Network = TypeVar("_Network", bound=Module)


class _Typed(Module):
    """A plain module between field types, for networks whose own code passes fields from layer to layer."""

    def __init__(self, layer: EquivariantModule, module: Module) -> None:
        super().__init__()
        self.in_type, self.out_type = layer.in_type, layer.out_type
        self.module = module

    def forward(self, input: GeometricTensor) -> GeometricTensor:
        return GeometricTensor(self.module(input.tensor), self.out_type)


def plain(model: Module) -> Module:
    """A network of plain torch modules that computes the same in evaluation mode, at the present softness.

    An escnn module is exported as a whole. In any other network each outermost escnn module is exchanged for what it
    exports, between the same field types; those that have no ``export`` stay. Filters are baked in, and matrix layers
    turn into ``torch.nn.Linear``. Forward hooks on escnn's modules are no part of it.

    Args:
        model: the network; it stays as it is.

    Returns:
        A network from tensors to tensors in evaluation mode; it shares Parameters with what needed no change.

    Raises:
        ArgumentError: if the model is no module, or something else parametrizes a filtered tensor.

    Example:
        >>> import torch
        >>> from escnn import gspaces, nn
        >>> from escnn_soft import SoftR2Conv, export
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> export.plain(nn.SequentialModule(SoftR2Conv(field, field, 3, softness=0.3), nn.ReLU(field)))
        Sequential(
          (0): Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1))
          (1): ReLU()
        )
    """
    instance("model", model, Module, "Pass the network that is to run without escnn.")
    model = _with_own_exports(structural_copy(model))
    if isinstance(model, EquivariantModule):
        return _exported(model).eval()
    _exchange(model, {})
    if any(dial.plain for dial in dials(model).values()):
        model = bake(model)  # a copy again: in place it would write into Parameters that are the network's too
    return model.eval()


def _with_own_exports(model: _Network) -> _Network:
    """The network with soft convolutions at softness 0 for escnn's, whose ``export`` forgets the padding mode."""
    if not any(map(_forgets, model.modules())):
        return model
    return soften(model, 0.0, filter_fn=lambda module, name: _forgets(module), on_unsupported="ignore", inplace=True)


def _forgets(module: Module) -> bool:
    hard = isinstance(module, EquivariantModule) and not isinstance(module, SoftLayer)
    return hard and getattr(module, "padding_mode", "zeros") != "zeros"


def _exchange(parent: Module, done: dict[Module, Module]) -> None:
    for name, child in list(parent._modules.items()):  # under all its names: named_children passes over the second
        if isinstance(child, EquivariantModule):
            done[child] = done.get(child) or _typed(child)
            setattr(parent, name, done[child])
        elif child is not None:
            _exchange(child, done)


def _typed(layer: EquivariantModule) -> Module:
    try:
        return _Typed(layer, _exported(layer))
    except NotImplementedError:
        return layer


def _exported(layer: EquivariantModule) -> Module:
    """escnn's export, in the layer's dtype: escnn makes batch norms in the default one."""
    dtype = next((p.dtype for p in layer.parameters()), None)
    return layer.export().to(dtype)
