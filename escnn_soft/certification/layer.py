"""Certificates of single layers: soft ones, escnn's own, and plain torch layers that are given field types."""

from __future__ import annotations

from typing import Any, overload

import torch
from escnn.nn import EquivariantModule, FieldType
from torch.nn import Parameter

from escnn_soft.bounds import Certificate, MatrixCertificate
from escnn_soft.errors import ArgumentError, EscnnSoftError
from escnn_soft.functions import grid_exact
from escnn_soft.layers import SoftMatrixLinear, own_dials, plain_twin, soft_twin
from escnn_soft.layers.plain_certificate import plain_certificate

__all__ = ["certificate"]


@overload
def certificate(layer: SoftMatrixLinear) -> MatrixCertificate: ...  # type: ignore[overload-overlap]


@overload
def certificate(
    layer: torch.nn.Module, in_type: FieldType | None = None, out_type: FieldType | None = None
) -> Certificate: ...


def certificate(
    layer: torch.nn.Module, in_type: FieldType | None = None, out_type: FieldType | None = None
) -> Certificate | MatrixCertificate:
    """The equivariance error of a layer's weights, for every element of the group.

    Args:
        layer: a soft layer, a layer of escnn's that has a soft twin, or a linear layer or convolution of torch's.
        in_type: type of the input of a plain torch layer; escnn's layers and softened convolutions have their own.
        out_type: likewise of the output.

    Returns:
        The certificate of the weights as they are now, by the levels that a dial on them has: those of the soft layer
        or filter, those of the soft twin of a hard layer, whose band limit is read off its basis, those that
        :func:`soften` would give to a plain layer between these types.

    Raises:
        ArgumentError: if the layer is none of these, or an escnn layer is given types.
        FieldTypeError: if the types do not fit the layer.

    Example:
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
        >>> conv = torch.nn.Conv2d(1, 4, 3)
        >>> 0.1 < certificate(conv, image, hidden).relative.sup <= 2.0
        True
    """
    given = in_type if in_type is not None else out_type
    if given is not None and isinstance(layer, EquivariantModule):
        raise ArgumentError("in_type, out_type", given, "no types for an escnn layer", "Leave them out.")
    if given is None:
        own = [dial for dial in own_dials(layer) if dial.of_layer]
        if own:
            return own[0].certificate()
        if isinstance(layer, EquivariantModule):
            return _of_hard(layer)
    return plain_certificate(layer, in_type, out_type)


@torch.inference_mode(False)  # what is built here is kept, and serves training too
@torch.no_grad()
def _of_hard(layer: EquivariantModule) -> Certificate:
    """By the levels of its twin, which has found out the layer's band limit."""
    hard = _with_parameters(layer)
    try:
        return soft_twin(hard, 0.0).certificate_of(layer)
    except EscnnSoftError:
        plain = plain_twin(layer)
        if plain is None or not grid_exact(layer.in_type.gspace):
            raise
        return plain_certificate(plain, layer.in_type, layer.out_type)  # all functions on the pixels: no band limit


def _with_parameters(layer: EquivariantModule) -> EquivariantModule:
    """A pruned or parametrized layer as one whose weights are Parameters again; any other itself."""
    names = [name for name in ("weights", "bias") if getattr(layer, name, None) is not None]
    if all(isinstance(layer._parameters.get(name), Parameter) for name in names):
        return layer
    cls: Any = next(cls for cls in type(layer).__mro__ if not cls.__name__.startswith("Parametrized"))
    plain: EquivariantModule = cls.__new__(cls)
    own = {kind: dict(vars(layer)[kind]) for kind in ("_parameters", "_modules")}
    vars(plain).update({**vars(layer), **own})
    plain._modules.pop("parametrizations", None)
    for name in names:
        vars(plain).pop(name, None)
        plain._parameters[name] = Parameter(getattr(layer, name).detach())
    return plain
