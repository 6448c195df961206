"""The levels of a plain convolution's kernel, and of its bias."""

from __future__ import annotations

from escnn.nn import FieldType
from torch.nn import Conv2d

from escnn_soft.escnn import kept_harmonics
from escnn_soft.functions import grid_exact, shell_harmonics
from escnn_soft.grading import GradedPixels, GradedWeight, fibre_transform, kernel_transform, without_band_limit
from escnn_soft.layers.arguments import check_dense, check_groups

__all__ = ["graded_bias", "graded_kernel", "is_scalar"]


def graded_kernel(conv: Conv2d, in_type: FieldType, out_type: FieldType) -> GradedPixels | GradedWeight:
    """The levels of a plain convolution's kernel between two field types.

    A group that acts on the pixels splits all functions on them by irrep, so that softness 0 keeps every equivariant
    kernel. For any other group harmonics come first on the dial, and the remainder last: between scalar fields those on
    every distance from the centre, so that softness 0 keeps every function of the distance, between others escnn's.

    Args:
        conv: a convolution with a square kernel.
        in_type: type of its input.
        out_type: type of its output, on the same gspace.

    Returns:
        The levels; between scalar fields those of the pixels alone.

    Raises:
        FieldTypeError: if a type has another number of channels, or does not split into the layer's groups.
        ArgumentError: if the kernel is not square.
    """
    check_dense(conv, in_type, out_type)
    size, dilation = conv.kernel_size[0], conv.dilation[0]
    gspace, (in_fields, _) = in_type.gspace, check_groups(in_type, out_type, conv.groups)
    exact = grid_exact(gspace)
    scalar = is_scalar(in_type) and is_scalar(out_type)
    if scalar:
        in_fields, out_fields = [gspace.trivial_repr], [gspace.trivial_repr]
        harmonics = shell_harmonics(size, dilation)
    else:
        out_fields = list(out_type.representations)
        harmonics = kept_harmonics(size, None, None, None, dilation, None)
    if exact:
        harmonics = ()
    transform = kernel_transform(gspace, in_fields, out_fields, size, harmonics, dilation)
    if exact:
        transform = without_band_limit(transform)
    return GradedPixels.of(transform) if scalar else GradedWeight(transform)


def graded_bias(out_type: FieldType) -> GradedWeight:
    """The levels of a bias: of a constant field of this type."""
    gspace = out_type.gspace
    return GradedWeight(fibre_transform(gspace, [gspace.trivial_repr], out_type.representations))


def is_scalar(field_type: FieldType) -> bool:
    """Whether the group leaves every channel of a type alone."""
    return all(rho.is_trivial() for rho in field_type.representations)
