"""Certificates of single layers: soft ones, escnn's own, and plain torch layers that are given field types."""

from __future__ import annotations

from typing import Any

import torch
from escnn.gspaces import GSpace, GSpace0D, GSpace2D, GSpace3D
from escnn.nn import EquivariantModule, FieldType, Linear, R2Conv, R2ConvTransposed, R3Conv, R3ConvTransposed

from escnn_soft.bounds import Certificate
from escnn_soft.errors import ArgumentError, FieldTypeError
from escnn_soft.nn.arguments import check_groups, check_types, dense_geometry
from escnn_soft.nn.certificate import convolution_certificate, matrix_certificate
from escnn_soft.nn.geometry import Geometry, Movement, TransposedGeometry, per_axis
from escnn_soft.nn.rings import kept_harmonics, kept_shells
from escnn_soft.nn.soft import SoftLayer
from escnn_soft.nn.soft_filter import weight_filter
from escnn_soft.spectrum import SpatialFunction, fibre_transform, grid_exact, kernel_transform

__all__ = ["certificate"]

_TRANSPOSED = (R2ConvTransposed, R3ConvTransposed, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
_CONVOLUTIONS = {
    GSpace2D: (R2Conv, torch.nn.Conv2d, R2ConvTransposed, torch.nn.ConvTranspose2d),
    GSpace3D: (R3Conv, torch.nn.Conv3d, R3ConvTransposed, torch.nn.ConvTranspose3d),
}


def certificate(
    layer: torch.nn.Module, in_type: FieldType | None = None, out_type: FieldType | None = None
) -> Certificate:
    """The equivariance error of a layer's weights, for every element of the group.

    Args:
        layer: a soft layer, escnn's or torch's linear layer, or a convolution of theirs, also a transposed one.
        in_type: type of the input of a plain torch layer; escnn's layers and softened convolutions have their own.
        out_type: likewise of the output.

    Returns:
        The certificate of the weights as they are now. For groups that do not act on the pixels, escnn's default rings
        and frequencies are taken as the band limit of a layer that is not soft.

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
    if isinstance(layer, EquivariantModule):
        if in_type is not None or out_type is not None:
            given = in_type if in_type is not None else out_type
            raise ArgumentError("in_type, out_type", given, "no types for an escnn layer", "Leave them out.")
        if isinstance(layer, SoftLayer):
            return layer.certificate()
        in_type, out_type = layer.in_type, layer.out_type
    soft_filter = weight_filter(layer)
    if in_type is None and out_type is None and soft_filter is not None and soft_filter.types is not None:
        in_type, out_type = soft_filter.types.in_type, soft_filter.types.out_type
    for kind, convolutions in _CONVOLUTIONS.items():
        if isinstance(layer, convolutions):
            return _of_convolution(layer, *_checked(in_type, out_type, kind))
    if isinstance(layer, Linear | torch.nn.Linear):
        return _of_matrix(layer, *_checked(in_type, out_type, GSpace0D))
    expected = "a soft layer, a linear layer or a convolution of escnn or torch"
    raise ArgumentError("layer", layer, expected, "Use certify(model, x) for networks and other modules.")


def _checked(in_type: FieldType | None, out_type: FieldType | None, kind: type[GSpace]) -> tuple[FieldType, FieldType]:
    remedy = f"Give the types of a {kind.__name__}: certificate(layer, in_type, out_type)."
    check_types(in_type, out_type, kind, remedy)
    return in_type, out_type


def _of_matrix(layer: Linear | torch.nn.Linear, in_type: FieldType, out_type: FieldType) -> Certificate:
    with torch.no_grad():
        matrix, bias = layer.expand_parameters() if isinstance(layer, Linear) else (layer.weight, layer.bias)
    if tuple(matrix.shape) != (out_type.size, in_type.size):
        expected = f"types with the layer's {tuple(matrix.shape)} channels (out, in)"
        remedy = "Choose fields whose sizes add up to the channels."
        raise FieldTypeError("(in_type, out_type)", (in_type, out_type), expected, remedy)
    fields = in_type.representations, out_type.representations
    transform = fibre_transform(in_type.gspace, *fields)
    return matrix_certificate(transform, *fields, matrix, bias, in_type.gspace)


def _of_convolution(layer: Any, in_type: FieldType, out_type: FieldType) -> Certificate:
    rings = sigma = None
    if isinstance(layer, EquivariantModule):
        with torch.no_grad():
            kernel, bias = layer.expand_parameters()
        rings, sigma, dilation, padding = layer._rings, layer._sigma, layer.dilation, layer.padding
    else:
        kernel, bias = layer.weight, layer.bias
        _, padding, dilation = dense_geometry(layer, in_type, out_type)
    dims, size, fields = kernel.dim() - 2, kernel.shape[-1], check_groups(in_type, out_type, layer.groups)
    geometry: Movement
    if isinstance(layer, _TRANSPOSED):
        kernel, between = kernel.transpose(0, 1), (in_type.representations, fields[1])
        stride, padding, extra = (per_axis(v, dims) for v in (layer.stride, padding, layer.output_padding))
        geometry = TransposedGeometry(stride, padding, dilation, layer.groups, extra)
    else:
        between = fields[0], out_type.representations
        geometry = Geometry.of(layer.stride, padding, dilation, layer.padding_mode, layer.groups, dims)
    harmonics: tuple[SpatialFunction, ...] = ()
    if hasattr(layer, "_samples"):
        harmonics = kept_shells(size, layer._samples, rings, sigma, dilation, None, in_type.fibergroup)
    elif not grid_exact(in_type.gspace):  # a group that acts on the pixels splits all functions on them
        harmonics = kept_harmonics(size, None, rings, sigma, dilation, None, dims)
    transform = kernel_transform(in_type.gspace, *between, size, harmonics, dilation)
    return convolution_certificate(
        transform, *between, kernel, bias, in_type.gspace, geometry, out_type.representations
    )
