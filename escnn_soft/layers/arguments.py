"""Checks of field types and geometries, shared by the soft layers."""

from __future__ import annotations

import warnings

from escnn.group import Representation
from escnn.gspaces import GSpace
from escnn.nn import EquivariantModule, FieldType
from torch.nn.modules.conv import _ConvNd

from escnn_soft._checks import class_words, integer
from escnn_soft.errors import ArgumentError, BasisFilterError, FieldTypeError, GSpaceError
from escnn_soft.escnn import BasisFilter
from escnn_soft.grading import WeightTransform

__all__ = [
    "check_band_limit",
    "check_dense",
    "check_filter",
    "check_geometry",
    "check_groups",
    "check_output_padding",
    "check_rank",
    "check_types",
    "dense_geometry",
    "warn_of_maximum_offset",
]


def check_types(in_type: FieldType, out_type: FieldType, kind: type[GSpace], remedy: str) -> None:
    """Refuse what are not two field types on the same gspace of a kind."""
    for name, value in (("in_type", in_type), ("out_type", out_type)):
        if not isinstance(value, FieldType):
            raise FieldTypeError(name, value, "an escnn.nn.FieldType", "Build one with gspace.type(*representations).")
        if not isinstance(value.gspace, kind):
            raise GSpaceError(f"{name}.gspace", value.gspace, class_words(kind), remedy)
    if in_type.gspace != out_type.gspace:
        remedy = "Build both types from the same gspace."
        raise GSpaceError("out_type.gspace", out_type.gspace, f"the gspace of in_type, {in_type.gspace}", remedy)


def check_groups(
    in_type: FieldType, out_type: FieldType, groups: int
) -> tuple[list[Representation], list[Representation]]:
    """The fields of one group of the input and of the output, after checking that all groups of a type are equal."""
    parts = []
    for name, field_type in (("in_type", in_type), ("out_type", out_type)):
        fields = field_type.representations
        size = len(fields) // groups
        if size * groups != len(fields) or list(fields) != list(fields[:size]) * groups:
            expected = f"fields that split into groups={groups} equal groups"
            remedy = "Repeat the same fields in the same order once per group, or lower groups."
            raise FieldTypeError(name, field_type, expected, remedy)
        parts.append(list(fields[:size]))
    return parts[0], parts[1]


def check_geometry(dims: int, padding_mode: str = "zeros", **sizes: object) -> None:
    """Refuse what are not one integer or one per axis, and unknown padding modes."""
    count, axes = {2: ("two", "both axes or a tuple (vertical, horizontal)"), 3: ("three", "all axes or one per axis")}[
        dims
    ]
    for name, value in sizes.items():
        minimum = 1 if name == "stride" else 0
        for part in value if isinstance(value, tuple) and len(value) == dims else (value,):
            if isinstance(part, bool) or not isinstance(part, int) or part < minimum:
                raise ArgumentError(name, value, f"one or {count} integers >= {minimum}", f"Pass one value for {axes}.")
    modes = ("zeros", "reflect", "replicate", "circular")
    if padding_mode not in modes:
        raise ArgumentError("padding_mode", padding_mode, f"one of {modes}", "Choose one of these.")


def check_rank(rank: int | None) -> int | None:
    """The rank, after refusing what is neither None nor a positive integer."""
    return None if rank is None else integer("rank", rank, minimum=1)


def check_output_padding(output_padding: tuple[int, ...], stride: tuple[int, ...], dilation: int) -> None:
    """Refuse output paddings as large as the step between pixels of the output."""
    for extra, step in zip(output_padding, stride, strict=True):
        if extra >= max(step, dilation):
            expected = f"less than the stride {stride} or the dilation {dilation}"
            remedy = "It only chooses among the output sizes that a stride makes possible."
            raise ArgumentError("output_padding", output_padding, expected, remedy)


def check_band_limit(soft: EquivariantModule, layer: EquivariantModule) -> None:
    """Refuse a hard layer that has another number of weights than the soft one that was built in its likeness."""
    mine, theirs = soft.weights, layer.weights
    if mine.shape != theirs.shape:
        expected = f"a layer with {mine.numel()} weights (it has {theirs.numel()})"
        remedy = "Pass the frequencies_cutoff and basis_filter that the layer was built with."
        raise ArgumentError("layer", layer, expected, remedy)


def check_filter(basis_filter: BasisFilter | None, kept: int, transform: WeightTransform) -> None:
    """Refuse a filter with which escnn has other kernels than the equivariant level; ``kept`` is their dimension."""
    dim = transform.equivariant.dim
    if kept != dim:
        kernels = f"all {dim} equivariant kernels of the rings and frequencies it keeps ({kept} are left)"
        remedy = 'Decide by "radius", "sigma" and "irrep:frequency" alone.'
        raise BasisFilterError("basis_filter", basis_filter, f"a filter that keeps {kernels}", remedy)


def warn_of_maximum_offset(maximum_offset: int | None) -> None:
    """Say that escnn takes this argument and does nothing with it; to be called by a layer's constructor."""
    if maximum_offset is not None:
        # past this function and the constructor, to whoever builds the layer
        warnings.warn(f"escnn ignores maximum_offset={maximum_offset}; use frequencies_cutoff.", stacklevel=3)


def check_dense(conv: _ConvNd, in_type: FieldType, out_type: FieldType) -> None:
    """Refuse types that do not have a plain convolution's channels, and kernels that are not square."""
    for name, field_type, channels in (
        ("in_type", in_type, conv.in_channels),
        ("out_type", out_type, conv.out_channels),
    ):
        if field_type.size != channels:
            expected = f"a type with the convolution's {channels} channels (it has {field_type.size})"
            raise FieldTypeError(name, field_type, expected, "Choose fields whose sizes add up to the channels.")
    for name in ("kernel_size", "dilation"):
        value = getattr(conv, name)
        if len(set(value)) > 1:
            remedy = "Rotations need a square kernel; pad the weight with zeros to a square one."
            raise ArgumentError(f"conv.{name}", tuple(value), "the same value on all axes", remedy)


def dense_geometry(conv: _ConvNd, in_type: FieldType, out_type: FieldType) -> tuple[int, int | tuple[int, ...], int]:
    """Kernel size, padding and dilation of a plain convolution, after checking that a soft layer can have them."""
    check_dense(conv, in_type, out_type)
    padding = conv.padding
    if isinstance(padding, str):  # "valid" or "same"
        twice = 0 if padding == "valid" else conv.dilation[0] * (conv.kernel_size[0] - 1)
        if twice % 2:
            remedy = "Pad explicitly, or use an odd kernel."
            raise ArgumentError("conv.padding", padding, "the same padding on all sides", remedy)
        padding = (twice // 2,) * len(conv.kernel_size)
    return conv.kernel_size[0], padding[0] if len(set(padding)) == 1 else tuple(padding), conv.dilation[0]
