"""Checks of field types and geometries, shared by the soft layers."""

from __future__ import annotations

import torch
from escnn.group import Representation
from escnn.gspaces import GSpace
from escnn.nn import FieldType

from escnn_soft.errors import ArgumentError, FieldTypeError, GSpaceError

__all__ = ["check_geometry", "check_groups", "check_types", "dense_geometry"]


def check_types(in_type: FieldType, out_type: FieldType, kind: type[GSpace], remedy: str) -> None:
    """Refuse what are not two field types on the same gspace of a kind."""
    for name, value in (("in_type", in_type), ("out_type", out_type)):
        if not isinstance(value, FieldType):
            raise FieldTypeError(name, value, "an escnn.nn.FieldType", "Build one with gspace.type(*representations).")
        if not isinstance(value.gspace, kind):
            raise GSpaceError(f"{name}.gspace", value.gspace, f"a {kind.__name__}", remedy)
    if in_type.gspace != out_type.gspace:
        remedy = "Build both types from the same gspace."
        raise GSpaceError("out_type.gspace", out_type.gspace, f"the gspace of in_type, {in_type.gspace}", remedy)


def check_groups(in_type: FieldType, out_type: FieldType, groups: int) -> list[Representation]:
    """The fields of one group of the input, after checking that all groups of both types are equal."""
    for name, field_type in (("in_type", in_type), ("out_type", out_type)):
        fields = field_type.representations
        size = len(fields) // groups
        if size * groups != len(fields) or list(fields) != list(fields[:size]) * groups:
            expected = f"fields that split into groups={groups} equal groups"
            remedy = "Repeat the same fields in the same order once per group, or lower groups."
            raise FieldTypeError(name, field_type, expected, remedy)
    return list(in_type.representations[: len(in_type) // groups])


def check_geometry(padding: object, stride: object, padding_mode: object) -> None:
    """Refuse paddings and strides that are not one or two integers, and unknown padding modes."""
    for name, value, minimum in (("padding", padding, 0), ("stride", stride, 1)):
        for part in value if isinstance(value, tuple) and len(value) == 2 else (value,):
            if isinstance(part, bool) or not isinstance(part, int) or part < minimum:
                remedy = "Pass one value for both axes or a tuple (vertical, horizontal)."
                raise ArgumentError(name, value, f"one or two integers >= {minimum}", remedy)
    modes = ("zeros", "reflect", "replicate", "circular")
    if padding_mode not in modes:
        raise ArgumentError("padding_mode", padding_mode, f"one of {modes}", "Choose one of these.")


def dense_geometry(
    conv: torch.nn.Conv2d, in_type: FieldType, out_type: FieldType
) -> tuple[int, int | tuple[int, int], int]:
    """Kernel size, padding and dilation of a plain convolution, after checking that a soft layer can have them."""
    for name, field_type, channels in (
        ("in_type", in_type, conv.in_channels),
        ("out_type", out_type, conv.out_channels),
    ):
        if field_type.size != channels:
            expected = f"a type with the convolution's {channels} channels (it has {field_type.size})"
            raise FieldTypeError(name, field_type, expected, "Choose fields whose sizes add up to the channels.")
    for name in ("kernel_size", "dilation"):
        first, second = getattr(conv, name)
        if first != second:
            remedy = "Rotations need a square kernel; pad the weight with zeros to a square one."
            raise ArgumentError(f"conv.{name}", (first, second), "the same value on both axes", remedy)
    padding = conv.padding
    if isinstance(padding, str):  # "valid" or "same"
        twice = 0 if padding == "valid" else conv.dilation[0] * (conv.kernel_size[0] - 1)
        if twice % 2:
            remedy = "Pad explicitly, or use an odd kernel."
            raise ArgumentError("conv.padding", padding, "the same padding on all sides", remedy)
        padding = (twice // 2, twice // 2)
    vertical, horizontal = padding
    return conv.kernel_size[0], vertical if vertical == horizontal else (vertical, horizontal), conv.dilation[0]
