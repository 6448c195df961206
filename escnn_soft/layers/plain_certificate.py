"""Certificates of plain torch layers between field types, by the levels that a dial on them has."""

from __future__ import annotations

from escnn.gspaces import GSpace0D, GSpace2D, GSpace3D
from escnn.nn import FieldType
from torch import Tensor
from torch.nn import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d, Linear, Module
from torch.nn.modules.conv import _ConvNd

from escnn_soft.bounds import Certificate
from escnn_soft.errors import ArgumentError, FieldTypeError
from escnn_soft.escnn import kept_harmonics
from escnn_soft.functions import grid_exact
from escnn_soft.grading import GradedWeight, SpectralGrading, fibre_transform, kernel_transform
from escnn_soft.layers.arguments import check_groups, check_types, dense_geometry
from escnn_soft.layers.geometry import Geometry, Movement, TransposedGeometry, per_axis
from escnn_soft.layers.grid.graded_kernel import graded_kernel
from escnn_soft.layers.layer_certificate import convolution_certificate, matrix_certificate

__all__ = ["plain_certificate"]

_SPACES = {
    Conv2d: GSpace2D,
    ConvTranspose2d: GSpace2D,
    Conv3d: GSpace3D,
    ConvTranspose3d: GSpace3D,
    Linear: GSpace0D,
}


def plain_certificate(
    layer: Module, in_type: FieldType | None, out_type: FieldType | None, graded: SpectralGrading | None = None
) -> Certificate:
    """The equivariance error of a plain layer's weights, as it uses them, for every element of the group.

    Args:
        layer: a linear layer or a convolution of torch's, transposed or not.
        in_type: type of its input.
        out_type: type of its output.
        graded: the levels of its weight; those that a dial on it would have if None.

    Returns:
        The certificate.

    Raises:
        ArgumentError: if the layer is none of these.
        FieldTypeError: if the types do not fit it.
    """
    kind = next((space for cls, space in _SPACES.items() if isinstance(layer, cls)), None)
    if kind is None:
        expected = "a soft layer, a linear layer or a convolution of escnn or torch"
        raise ArgumentError("layer", layer, expected, "Use certify(model, x) for networks and other modules.")
    check_types(in_type, out_type, kind, f"Give the types of a {kind.__name__}: certificate(layer, in_type, out_type).")
    assert in_type is not None
    assert out_type is not None
    assert isinstance(layer, _ConvNd | Linear)
    weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    if isinstance(layer, _ConvNd):
        return _of_convolution(layer, in_type, out_type, weight, bias, graded)
    if tuple(weight.shape) != (out_type.size, in_type.size):
        expected = f"types with the layer's {tuple(weight.shape)} channels (out, in)"
        remedy = "Choose fields whose sizes add up to the channels."
        raise FieldTypeError("(in_type, out_type)", (in_type, out_type), expected, remedy)
    fields = in_type.representations, out_type.representations
    return matrix_certificate(fibre_transform(in_type.gspace, *fields), *fields, weight, bias, in_type.gspace)


def _of_convolution(
    conv: _ConvNd,
    in_type: FieldType,
    out_type: FieldType,
    kernel: Tensor,
    bias: Tensor | None,
    graded: SpectralGrading | None,
) -> Certificate:
    size, padding, dilation = dense_geometry(conv, in_type, out_type)
    dims, (first_in, first_out) = kernel.dim() - 2, check_groups(in_type, out_type, conv.groups)
    geometry: Movement
    if conv.transposed:
        kernel, between = kernel.transpose(0, 1), (in_type.representations, first_out)
        stride, padding, extra = (per_axis(v, dims) for v in (conv.stride, padding, conv.output_padding))
        geometry = TransposedGeometry(stride, padding, dilation, conv.groups, extra)
    else:
        between = first_in, out_type.representations
        geometry = Geometry.of(conv.stride, padding, dilation, conv.padding_mode, conv.groups, dims)
    if graded is None and isinstance(conv, Conv2d):
        graded = graded_kernel(conv, in_type, out_type)
    if (
        graded is None
    ):  # no dial fits, so escnn's default band limit: all functions on the pixels that the group acts on
        harmonics = () if grid_exact(in_type.gspace) else kept_harmonics(size, None, None, None, dilation, None, dims)
        graded = GradedWeight(kernel_transform(in_type.gspace, *between, size, harmonics, dilation))
    return convolution_certificate(graded, *between, kernel, bias, in_type.gspace, geometry, out_type.representations)
