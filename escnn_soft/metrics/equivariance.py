"""Equivariance error on data, and how much of it is interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

import torch
from escnn.group import GroupElement
from escnn.gspaces import GSpace
from torch import Tensor

from escnn_soft._record import Record
from escnn_soft.metrics.distance import normalized_error, relative_error
from escnn_soft.metrics.running import Model, Run, checked, means_over_samples
from escnn_soft.metrics.transformation import Interpolation, Transformation, transformations

__all__ = [
    "ElementError",
    "EquivarianceError",
    "equivariance_error",
    "gaussian_blur",
    "interpolation_floor",
    "invariance_error",
]

_SIGMA = 1.0
"""Width of the blur in pixels: sampled at the pixels, a Gaussian of this width is round to 1e-4."""


@dataclass(frozen=True)
class ElementError(Record):
    """The error at one group element, as means over the samples.

    Attributes:
        name: of the transformation.
        relative: ||f(g x) - g f(x)|| / ||g f(x)||.
        normalized: eErr, ||f(g x) - g f(x)|| / (||f(g x)|| + ||g f(x)||).
        floor: the part of ``relative`` that interpolation alone can explain; 0 if nothing is interpolated.
    """

    name: str
    relative: float
    normalized: float
    floor: float


@dataclass(frozen=True)
class EquivarianceError(Record):
    """The error at each of some group elements.

    Attributes:
        elements: one entry a transformation, in their order.
        samples: inputs that were measured.
    """

    recorded: ClassVar[tuple[str, ...]] = ("relative", "normalized", "floor")

    elements: tuple[ElementError, ...]
    samples: int

    @property
    def relative(self) -> float:
        """Mean relative error."""
        return fmean(element.relative for element in self.elements)

    @property
    def normalized(self) -> float:
        """Mean eErr."""
        return fmean(element.normalized for element in self.elements)

    @property
    def floor(self) -> float:
        """Mean floor."""
        return fmean(element.floor for element in self.elements)

    @property
    def worst(self) -> ElementError:
        """The element of the largest relative error."""
        return max(self.elements, key=lambda element: element.relative)

    def __str__(self) -> str:
        """A line for each element."""
        width = max(len(element.name) for element in self.elements)
        lines = [
            f"{e.name:<{width}}  relative {e.relative:.3g}  eErr {e.normalized:.3g}  floor {e.floor:.3g}"
            for e in self.elements
        ]
        return "\n".join(lines)


def equivariance_error(model: Model, batches: Any, transformations: Sequence[Transformation]) -> EquivarianceError:
    r"""Means over samples of ||f(g x) - g f(x)||, relative to ||g f(x)|| and to the sum of both norms.

    Where g moves pixels to pixels, the error is the model's alone. Elsewhere g x is interpolated, and an exactly
    equivariant model shows an error too. How much is measured by going there and back, which rotates nothing and
    interpolates twice:

        floor = ( ||f(g^-1 g x) - f(x)|| + ||g^-1 g f(x) - f(x)|| ) / ||f(x)||

    The first part is what the input's interpolation does to this model, the second is that of its output. Two
    interpolations lose at least as much as one in the typical case, but the floor is an estimate, no bound; what lies
    below it says nothing about the model.

    Args:
        model: a module, which is run in evaluation mode, or a function; plain torch or escnn's.
        batches: batches of inputs, or a single one.
        transformations: what to do to inputs and outputs.

    Returns:
        The errors.

    Raises:
        ArgumentError: if an argument has the wrong type, or there are no inputs.
        ShapeError: if f(g x) and g f(x) have different shapes.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft.metrics import transformations
        >>> space = gspaces.rot2dOnR2(4)
        >>> ramp = torch.arange(5.0).view(1, 1, 1, 5).expand(1, 1, 5, 5)
        >>> print(equivariance_error(torch.nn.AvgPool2d(3, stride=1), ramp, transformations(space, space)))
        1[2pi/4]  relative 0  eErr 0  floor 0
        2[2pi/4]  relative 0  eErr 0  floor 0
        3[2pi/4]  relative 0  eErr 0  floor 0
    """
    moves = checked(model, transformations)
    means, samples = means_over_samples(model, batches, moves, _measured)
    elements = (ElementError(move.name, *mean) for move, mean in zip(moves, means, strict=True))
    return EquivarianceError(tuple(elements), samples)


def invariance_error(model: Model, batches: Any, transformations: Sequence[Transformation]) -> EquivarianceError:
    """The same for ||f(g x) - f(x)||: whatever the transformations do to outputs is left out.

    Args:
        model: as in :func:`equivariance_error`; its outputs must not change in shape.
        batches: batches of inputs, or a single one.
        transformations: what to do to inputs.

    Returns:
        The errors.

    Raises:
        ArgumentError: if an argument has the wrong type, or there are no inputs.
        ShapeError: if f(g x) and f(x) have different shapes.

    Example:
        >>> flip = Transformation("flip", lambda x: x.flip(-1), lambda y: y.flip(-1))
        >>> invariance_error(lambda x: x, torch.tensor([[3.0, 4.0]]), [flip]).relative
        0.282...
    """
    return equivariance_error(model, batches, [_invariant(move) for move in checked(model, transformations)])


def interpolation_floor(
    batches: Any,
    gspace: GSpace,
    elements: Sequence[GroupElement] | None = None,
    *,
    interpolation: str = "bicubic",
) -> EquivarianceError:
    """What an exactly equivariant map shows on these images: a Gaussian blur, which commutes with all isometries.

    No model enters, so this tells how good the images and the interpolation are for measuring at all. (The identity
    would show no error, however bad the interpolation.)

    Args:
        batches: batches of images of scalars, or a single one.
        gspace: its group acts.
        elements: of the group, as for :func:`transformations`.
        interpolation: ``bilinear`` or ``bicubic``.

    Returns:
        The errors of the blur; its relative error is the floor.

    Raises:
        ArgumentError: if an argument has the wrong type.

    Example:
        >>> from escnn import gspaces
        >>> noise = torch.rand(1, 1, 33, 33, generator=torch.Generator().manual_seed(0))
        >>> rough = interpolation_floor(noise, gspaces.rot2dOnR2(8)).relative
        >>> rough > interpolation_floor(gaussian_blur(gaussian_blur(noise)), gspaces.rot2dOnR2(8)).relative
        True
    """
    moves = transformations(gspace, gspace, elements, interpolation=interpolation)
    return equivariance_error(gaussian_blur, batches, moves)


def gaussian_blur(x: Tensor) -> Tensor:
    """Each channel of images (n, channels, h, w) convolved with a Gaussian of one pixel's width, zeros outside."""
    reach = round(5 * _SIGMA)
    profile = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(x) / _SIGMA).square())
    kernel = torch.outer(profile, profile) / profile.sum().square()
    channels = x.shape[1]
    return torch.nn.functional.conv2d(x, kernel.expand(channels, 1, -1, -1), padding=reach, groups=channels)


def _measured(run: Run, move: Transformation) -> Tensor:
    """Relative error, eErr and floor of each sample, (3, n)."""
    first, second = run.both_sides(move)
    floor = torch.zeros(len(first), dtype=torch.float64, device=first.device)
    if not move.exact:
        through, back, still = run.excuses(move)
        floor = relative_error(through, still) + relative_error(back, still)
    return torch.stack([relative_error(first, second), normalized_error(first, second), floor])


def _invariant(move: Transformation) -> Transformation:
    """The transformation of inputs alone."""
    if move.interpolation is None:
        return Transformation(move.name, move.on_input)
    kept = {"undo_input": move.interpolation.undo_input, "input_window": move.interpolation.input_window}
    return Transformation(move.name, move.on_input, interpolation=Interpolation(**kept))
