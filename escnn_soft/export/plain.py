"""Networks without escnn's expansions: plain torch modules, which is what exporters take."""

from __future__ import annotations

import inspect
from typing import TypeVar

from escnn.nn import EquivariantModule, FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft._checks import instance
from escnn_soft.convert import bake, soften
from escnn_soft.convert.exchange import structural_copy
from escnn_soft.errors import ArgumentError, NoPlainLayerError
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
        return GeometricTensor(self.module(input.tensor), self.out_type, input.coords)

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        like = next(self.module.parameters(), Tensor())
        batch, *sizes = input_shape
        return (batch, *self.module(like.new_zeros(0, *sizes)).shape[1:])  # nothing is computed for an empty batch


class _Untyped(Module):
    """A module between fields that has no ``export``, as one from tensors to tensors."""

    def __init__(self, layer: EquivariantModule) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.layer(GeometricTensor(input, self.layer.in_type)).tensor
        return output


def plain(model: Module) -> Module:
    """A network of plain torch modules that computes the same in evaluation mode, at the present softness.

    An escnn module is exported as a whole. In any other network, and in an escnn module that has no ``export``, each
    outermost escnn module is exchanged for what it exports, between the same field types; those that have none and
    nothing inside stay, and compute on fields within the network. Filters are baked in, and matrix layers turn into
    ``torch.nn.Linear``. Forward hooks on escnn's modules are no part of it.

    Args:
        model: the network; it stays as it is.

    Returns:
        A network from tensors to tensors in evaluation mode; it shares Parameters with what needed no change.

    Raises:
        ArgumentError: if the model is no module, or something else parametrizes a filtered tensor.
        NoPlainLayerError: if the model is itself a layer of another kind than from one field to one field: over
            points, or of several fields. Inside a network such layers stay.

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
    if isinstance(model, EquivariantModule) and not _of_one_field(model):
        raise NoPlainLayerError(
            "model", model, "a network, or a layer from one field to one field",
            "Pass the network that holds it, with a forward of tensors.",
        )  # fmt: skip
    model = _with_own_exports(structural_copy(model))
    if isinstance(model, EquivariantModule):
        return _untyped(model).eval()
    _exchange(model, {})
    if any(dial.plain for dial in dials(model).values()):
        model = bake(model)  # a copy again: in place it would write into Parameters that are the network's too
    return model.eval()


def _of_one_field(layer: EquivariantModule) -> bool:
    """Whether a module takes one field and nothing else: convolutions over points take edges as well."""
    arguments = inspect.signature(layer.forward).parameters.values()
    required = [a for a in arguments if a.default is a.empty and a.kind is not a.VAR_KEYWORD]
    types = layer.in_type, layer.out_type
    return len(required) == 1 and all(isinstance(field, FieldType) for field in types)


def _with_own_exports(model: _Network) -> _Network:
    """The network with soft convolutions at softness 0 for those of escnn's whose ``export`` computes another thing."""
    if not any(map(_forgets, model.modules())):
        return model
    return soften(model, 0.0, filter_fn=lambda module, name: _forgets(module), on_unsupported="ignore", inplace=True)


def _forgets(module: Module) -> bool:
    """Whether escnn's ``export`` forgets something: padding modes, and the output padding of a transposed layer."""
    hard = isinstance(module, EquivariantModule) and not isinstance(module, SoftLayer)
    return hard and (
        getattr(module, "padding_mode", "zeros") != "zeros"
        or getattr(module, "output_padding", 0) not in (0, (0, 0), (0, 0, 0))
    )


def _untyped(layer: EquivariantModule) -> Module:
    """A module from one field to one field, as one from tensors to tensors."""
    exported = _exported(layer)
    if exported is None:
        _exchange(layer, {})
        exported = _Untyped(layer)
    return exported


def _exchange(parent: Module, done: dict[Module, Module]) -> None:
    """Exchange the outermost modules that have an export, wherever they are."""
    for name, child in list(parent._modules.items()):  # under all its names: named_children passes over the second
        if child is None:
            continue
        exported = _exported(child) if isinstance(child, EquivariantModule) and child not in done else None
        if exported is not None:
            done[child] = _Typed(child, exported)
        if child in done:
            setattr(parent, name, done[child])
        else:
            _exchange(child, done)


def _exported(layer: EquivariantModule) -> Module | None:
    """escnn's export, in the layer's dtype, as escnn makes batch norms in the default one; None where there is none."""
    dtype = next((p.dtype for p in layer.parameters()), None)
    try:
        return layer.export().to(dtype)
    except NotImplementedError:
        return None
    except ArgumentError:
        raise
    except ValueError:  # of a batch norm without running statistics
        return None
