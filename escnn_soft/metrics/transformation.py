"""What is done to a model's input, and what should then happen to its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from escnn.group import GroupElement
from escnn.gspaces import GSpace
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor

from escnn_soft.errors import ArgumentError, FieldTypeError, GridActionError, ShapeError
from escnn_soft.functions import act, act_on_fibres, moves_pixels, pixel_elements
from escnn_soft.metrics.resampling import INTERPOLATIONS, disc, interior, resample

__all__ = ["IGNORED", "Interpolation", "Transformation", "transformations"]

IGNORED = -1
"""Label of the pixels that an interpolated rotation may move out of the image."""

Map = Callable[[Any], Any]
Fields: TypeAlias = FieldType | GSpace | None
"""A field type; a gspace: any number of scalar fields; None: nothing moves, as for class scores."""


def _unchanged(x: Any) -> Any:
    return x


@dataclass(frozen=True, eq=False)
class Interpolation:
    """What else is needed of a transformation that interpolates.

    Attributes:
        undo_input: the inverse of ``on_input``, interpolated too.
        undo_output: the inverse of ``on_output``, likewise.
        input_window: applied to inputs, so that no part of them is moved out of sight.
        output_window: applied to outputs before they are compared, likewise.
    """

    undo_input: Map
    undo_output: Map = _unchanged
    input_window: Map = _unchanged
    output_window: Map = _unchanged


@dataclass(frozen=True, eq=False)
class Transformation:
    """T_in(g) and T_out(g) for one group element g, as functions of whole batches.

    :func:`transformations` makes them from gspaces and field types, :func:`point_rotations` for coordinates. For
    anything else give two functions, which act exactly.

    Attributes:
        name: in reports.
        on_input: T_in(g), applied to what the model is given.
        on_output: T_out(g), applied to what the model returns; nothing happens by default, as for class scores.
        on_mask: what happens to label maps, integers.  # shape: (n, height, width)
        interpolation: None if the transformation is exact.

    Example:
        >>> flip = Transformation("flip", lambda x: x.flip(-1))
        >>> flip.on_input(torch.tensor([1, 2])), flip.exact
        (tensor([2, 1]), True)
    """

    name: str
    on_input: Map
    on_output: Map = _unchanged
    on_mask: Map = _unchanged
    interpolation: Interpolation | None = None

    @property
    def exact(self) -> bool:
        """Whether nothing is interpolated."""
        return self.interpolation is None


def transformations(
    in_type: FieldType | GSpace,
    out_type: Fields = None,
    elements: Sequence[GroupElement] | None = None,
    *,
    interpolation: str | None = None,
) -> tuple[Transformation, ...]:
    """Transformations by group elements, of plain tensors and of escnn's.

        (g . x)(p) = rho(g) x(g^-1 p)

    Elements that map the pixel grid to itself move pixels and interpolate nothing. Others need ``interpolation``;
    inputs and outputs are then faded out towards a disc, because the corners of a rotated image are lost.

    Args:
        in_type: type of the input; a gspace stands for scalar fields, as many as the tensor has channels.
        out_type: type of the output, likewise; None where the output should not change, as class scores.
        elements: of the fibre group; by default all but the identity that map pixels to pixels, all of a finite group
            without a base space or with interpolation.
        interpolation: ``bilinear`` or ``bicubic``, for elements that do not map the pixel grid to itself.

    Returns:
        One transformation an element.

    Raises:
        ArgumentError: if there are no elements to take by default, one is of another group, or the interpolation is
            unknown.
        FieldTypeError: if the types have different groups.
        GridActionError: if an element needs an interpolation and there is none.

    Example:
        >>> from escnn import gspaces
        >>> turns = transformations(gspaces.rot2dOnR2(4))
        >>> [(turn.name, turn.exact) for turn in turns]
        [('1[2pi/4]', True), ('2[2pi/4]', True), ('3[2pi/4]', True)]
        >>> turns[0].on_input(torch.arange(4.0).view(1, 1, 2, 2))[0, 0]
        tensor([[1., 3.],
                [0., 2.]])
    """
    space = _space("in_type", in_type)
    if out_type is not None and _space("out_type", out_type).fibergroup != space.fibergroup:
        raise FieldTypeError(
            "out_type",
            out_type,
            f"a type of the group {space.fibergroup}",
            "Take both types from the same gspace, or restrict one of them.",
        )
    if interpolation is not None and interpolation not in INTERPOLATIONS:
        raise ArgumentError("interpolation", interpolation, f"one of {INTERPOLATIONS} or None", "Choose one of these.")
    chosen = _default_elements(space, interpolation) if elements is None else tuple(elements)
    return tuple(_transformation(element, in_type, out_type, interpolation) for element in chosen)


def _space(name: str, kind: Fields) -> GSpace:
    space = kind.gspace if isinstance(kind, FieldType) else kind
    if not isinstance(space, GSpace):
        remedy = "Pass a gspace for images of scalars, or gspace.type(*representations)."
        raise ArgumentError(name, kind, "a FieldType or a GSpace", remedy)
    return space


def _default_elements(space: GSpace, interpolation: str | None) -> tuple[GroupElement, ...]:
    group = space.fibergroup
    every = space.dimensionality == 0 or interpolation is not None
    if every and group.continuous:
        remedy = f"Choose some, such as {group}.element(...) or {group}.testing_elements()."
        raise ArgumentError("elements", None, f"elements of the infinite group {group}", remedy)
    return tuple(g for g in (group.elements if every else pixel_elements(space)) if g != group.identity)


def _transformation(
    element: GroupElement, in_type: FieldType | GSpace, out_type: Fields, interpolation: str | None
) -> Transformation:
    space = _space("in_type", in_type)
    if not isinstance(element, GroupElement) or element.group != space.fibergroup:
        remedy = "Take elements of the gspace's fibergroup."
        raise ArgumentError("elements", element, f"elements of {space.fibergroup}", remedy)
    if space.dimensionality == 0 or moves_pixels(space, element):
        return Transformation(
            str(element),
            lambda x: _moved(x, element, in_type),
            lambda y: _moved(y, element, out_type),
            lambda mask: _moved(mask[:, None], element, space)[:, 0],
        )
    if interpolation is None or space.dimensionality != 2:
        remedy = "Leave the element out"
        remedy += ", or pass interpolation='bicubic'." if space.dimensionality == 2 else ": volumes are not resampled."
        raise GridActionError("elements", element, "elements that map the pixel grid to itself", remedy)
    return Transformation(
        str(element),
        lambda x: _moved(x, element, in_type, interpolation),
        lambda y: _moved(y, element, out_type, interpolation),
        lambda mask: _moved_mask(mask, element, space),
        Interpolation(
            lambda x: _moved(x, ~element, in_type, interpolation),
            lambda y: _moved(y, ~element, out_type, interpolation),
            _windowed,
            _unchanged if out_type is None else _windowed,
        ),
    )


def _moved(x: Any, element: GroupElement, kind: Fields, interpolation: str | None = None) -> Any:
    """The transformed batch, of the same class as the batch; ``kind`` is the tensor's own type where it has one."""
    if kind is None:
        return x
    if isinstance(x, GeometricTensor):
        return GeometricTensor(_moved(x.tensor, element, x.type, interpolation), x.type)
    dims = _space("type", kind).dimensionality
    pooled = isinstance(kind, FieldType) and x.dim() == 2
    if not pooled and x.dim() != 2 + dims:
        remedy = "Leave out_type out where the output should not change; reshape tokens, or write a Transformation."
        raise ShapeError("tensor.shape", tuple(x.shape), f"(batch, channels) and {dims} axes of pixels", remedy)
    field_type = kind if isinstance(kind, FieldType) else kind.type(*[kind.trivial_repr] * x.shape[1])
    if pooled:
        return act_on_fibres(element, x, field_type)
    if interpolation is None:
        return act(element, GeometricTensor(x, field_type)).tensor
    matrix = field_type.gspace.basespace_action(element)
    return resample(act_on_fibres(element, x, field_type), matrix, interpolation)


def _windowed(x: Any) -> Any:
    if isinstance(x, GeometricTensor):
        return GeometricTensor(_windowed(x.tensor), x.type)
    return disc(x) if x.dim() == 4 else x


def _moved_mask(mask: Tensor, element: GroupElement, space: GSpace) -> Tensor:
    """The label of the nearest pixel, inside the disc."""
    labels = resample(mask[:, None].double(), space.basespace_action(element), "nearest")[:, 0].round().to(mask)
    return torch.where(interior(mask), labels, IGNORED)
