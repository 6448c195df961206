"""Certificates of single layers: soft ones, escnn's own, and plain torch layers that are given field types."""

from __future__ import annotations

from typing import overload

import torch
from escnn.nn import EquivariantModule, FieldType

from escnn_soft.bounds import Certificate, MatrixCertificate
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import SoftMatrixLinear, own_dials, soft_twin
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
        own = next(own_dials(layer), None)  # that of the weight comes before that of the bias
        if own is not None:
            return own.certificate()
        if isinstance(layer, EquivariantModule):
            return _of_hard(layer)
    return plain_certificate(layer, in_type, out_type)


def _of_hard(layer: EquivariantModule) -> Certificate:
    """By the levels of its twin, which has found out the layer's band limit."""
    with torch.no_grad():
        return soft_twin(layer, 0.0).certificate_of(layer)
