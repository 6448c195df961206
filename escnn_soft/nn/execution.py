"""Matrices and planar convolutions as they run: which elements they can be compared under, and how far they miss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from escnn.group import GroupElement, Representation
from escnn.gspaces import GSpace2D
from torch import Tensor

from escnn_soft.bounds import Execution, PixelErrors
from escnn_soft.linalg import convolution_norm, oversampling_factor, spectral_norm
from escnn_soft.spectrum import (
    FibreGroup,
    act_on_rows,
    grid_action,
    moves_pixels,
    pixel_elements,
    pixel_permutation,
)

__all__ = ["ConvolutionExecution", "Geometry", "MatrixExecution"]

Fields = Sequence[Representation]

_OVERSAMPLING = 8
"""Points of a circle per degree at which a matrix's error is decomposed."""

_LARGEST_ORBIT = 10**8
"""Numbers that may be decomposed for one operator norm over a Lie group; beyond it the Frobenius norm has to do."""


@dataclass(frozen=True)
class Geometry:
    """How a planar convolution moves over its input; pairs are (vertical, horizontal).

    Attributes:
        stride: step of the kernel.
        padding: pixels added on each side.
        dilation: spacing of the kernel's pixels.
        padding_mode: what is added.
        groups: blocks of fields that are convolved separately.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: int
    padding_mode: str
    groups: int

    @staticmethod
    def of(
        stride: int | tuple[int, ...], padding: int | tuple[int, ...], dilation: int, padding_mode: str, groups: int
    ) -> Geometry:
        """A geometry from the arguments of a convolution, where one number stands for both axes."""
        (down, right), (vertical, horizontal) = ((v, v) if isinstance(v, int) else v for v in (stride, padding))
        return Geometry((down, right), (vertical, horizontal), dilation, padding_mode, groups)

    def off_centre(self, kernel_size: int, size: int, axis: int) -> str | None:
        """Why the windows along an axis are not symmetric about the image's centre; None if they are."""
        span, stride, padding = self.dilation * (kernel_size - 1) + 1, self.stride[axis], self.padding[axis]
        rest = (size + 2 * padding - span) % stride
        if rest == 0:
            return None
        return (
            f"stride {stride} is off-centre on size {size}: "
            f"({size} + 2 * {padding} - {span}) % {stride} = {rest}, and it should be 0"
        )

    def norm(self, kernel: Tensor) -> float:
        """Upper bound on the operator norm of the convolution, for images of any size.

        Padding repeats pixels, r times at most along an axis, and so multiplies norms by sqrt(r) at most. Where the
        output is not larger than the input, it is also a part of the convolution, of stride 1, of the periodic
        continuation of the image (circular), of its mirrored one with twice the period (reflect), or of an image whose
        last pixels are repeated (replicate; a single pixel meets the symbol at frequency 0).

        Args:
            kernel: in double precision.  # shape: (out, in / groups, k, k)

        Returns:
            The bound.
        """
        blocks, dilation = kernel.chunk(self.groups), self.dilation
        largest = max(convolution_norm(block, self.stride, dilation) for block in blocks)
        if self.padding_mode == "zeros" or self.padding == (0, 0):
            return largest
        padded = largest * self.repetition()
        if any(2 * p > dilation * (kernel.shape[-1] - 1) for p in self.padding):
            return padded
        repeated = {"circular": [1, 1], "reflect": [2, 2], "replicate": [p + 1 for p in self.padding]}
        factor = self._factor(repeated[self.padding_mode])
        return min(padded, max(convolution_norm(block) for block in blocks) * factor)

    def _factor(self, repeated: Sequence[int]) -> float:
        """sqrt of how often a pixel occurs, over the axes that are padded."""
        return math.prod(math.sqrt(r) for r, padding in zip(repeated, self.padding, strict=True) if padding > 0)

    def repetition(self) -> float:
        """Upper bound on the norm of the padding itself."""
        if self.padding_mode == "zeros":
            return 1.0
        reflects = self.padding_mode != "replicate"
        return self._factor([3 if reflects else 2 * padding + 1 for padding in self.padding])


class ConvolutionExecution(Execution):
    """A planar convolution, exact under the elements that move pixels onto pixels.

    Args:
        gspace: escnn gspace on the plane.
        in_fields: fields of the input of one group.
        out_fields: fields of the output.
        kernel: as it runs, in double precision.  # shape: (out, in / groups, k, k)
        geometry: how it moves.
        dtype: in which the layer computes.
    """

    def __init__(
        self,
        gspace: GSpace2D,
        in_fields: Fields,
        out_fields: Fields,
        kernel: Tensor,
        geometry: Geometry,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(dtype)
        self.gspace, self.in_fields, self.out_fields = gspace, in_fields, out_fields
        self.kernel, self.geometry = kernel, geometry

    @cached_property
    def elements(self) -> tuple[GroupElement, ...]:
        """The elements that move pixels onto pixels and respect the geometry."""
        return tuple(g for g in pixel_elements(self.gspace) if self._lopsided(g) is None)

    def error(self, element: GroupElement) -> Tensor:
        """g . K - K on the pixels, (out, in / groups, k, k)."""
        kernel = self.kernel.flatten(2)
        moved = torch.empty_like(kernel)
        moved[:, :, pixel_permutation(self.gspace, self.kernel.shape[-1], element)] = kernel
        moved = act_on_rows(element, moved, self.out_fields)
        moved = act_on_rows(element, moved.transpose(0, 1), self.in_fields).transpose(0, 1)  # K rho(g)^T
        return moved.reshape(self.kernel.shape) - self.kernel

    def pixel_errors(self) -> PixelErrors:
        """||g . K - K|| on the pixels, exact."""
        errors = tuple(float(self.error(g).norm()) for g in self.elements)
        return PixelErrors(self.elements, errors, float(self.kernel.norm()))

    def error_norm(self, element: GroupElement) -> float:
        """Upper bound on ||f(g x) - g f(x)|| / ||x||."""
        return self.geometry.norm(self.error(element))

    @cached_property
    def worst_error_norm(self) -> float:
        """Upper bound over the elements that move pixels onto pixels."""
        elements: list[GroupElement] = []
        for g in self.elements:  # the errors of g and of its inverse are equally large
            if ~g not in elements:
                elements.append(g)
        return max(self.error_norm(g) for g in elements)

    @property
    def frobenius_factor(self) -> float:
        """sum_p ||K(p)|| <= k ||K||_F over k^2 pixels."""
        return self.geometry.repetition() * self.kernel.shape[-1]

    @cached_property
    def lipschitz(self) -> float:
        """Upper bound on ||f(x) - f(y)|| / ||x - y||."""
        return self.geometry.norm(self.kernel)

    @cached_property
    def rounding(self) -> float:
        """gamma_n || |K| ||, with n the number of products that are summed."""
        magnitude = self.kernel.abs().sum((2, 3))  # the symbol of |K| is largest at frequency 0
        largest = max(float(spectral_norm(block)) for block in magnitude.chunk(self.geometry.groups))
        return self.accumulated(self.kernel[0].numel() + 1) * largest * self.geometry.repetition()

    def refusal(self, element: GroupElement, input_shape: Sequence[int]) -> str | None:
        """Why the element is not covered on images (batch, channels, height, width)."""
        if not moves_pixels(self.gspace, element):
            return f"{element} moves pixels off the grid"
        matrix = grid_action(self.gspace, element)
        swaps = matrix[0, 0] == 0
        moved = [axis for axis, sign in ((0, matrix[1, 1]), (1, matrix[0, 0])) if swaps or sign < 0]
        reasons = [self._lopsided(element)]
        reasons += [self.geometry.off_centre(self.kernel.shape[-1], input_shape[2 + a], a) for a in moved]
        return next((reason for reason in reasons if reason is not None), None)

    def _lopsided(self, element: GroupElement) -> str | None:
        """Why an element that swaps the axes does not respect the geometry."""
        swaps = grid_action(self.gspace, element)[0, 0] == 0
        for name, pair in (("stride", self.geometry.stride), ("padding", self.geometry.padding)):
            if swaps and pair[0] != pair[1]:
                return f"{name} {pair} differs between the axes that {element} swaps"
        return None


class MatrixExecution(Execution):
    """A matrix between feature vectors; every element of the group is covered.

    Args:
        group: the fibre group.
        in_fields: fields of the input.
        out_fields: fields of the output.
        matrix: as it runs, in double precision.  # shape: (out, in)
        dtype: in which the layer computes.
    """

    frobenius_factor = 1.0

    def __init__(
        self, group: FibreGroup, in_fields: Fields, out_fields: Fields, matrix: Tensor, dtype: torch.dtype
    ) -> None:
        super().__init__(dtype)
        self.group, self.in_fields, self.out_fields, self.matrix = group, in_fields, out_fields, matrix

    def error_norm(self, element: GroupElement) -> float:
        """||rho_out(g) W - W rho_in(g)||."""
        moved = act_on_rows(element, self.matrix, self.out_fields)
        inverse = act_on_rows(~element, self.matrix.T, self.in_fields).T  # W rho(g)
        return float(spectral_norm(moved - inverse))

    @cached_property
    def worst_error_norm(self) -> float:
        """The maximum over a finite group; a trigonometric polynomial of the angles for any other."""
        if not self.group.circles:
            return max(self.error_norm(g) for g in self.group.cosets)
        degrees = [
            sum(max(self.group.degrees(irrep)[i] for rho in fields for irrep in rho.irreps) for fields in self._sides)
            for i in range(len(self.group.circles))
        ]
        points = [max(1, _OVERSAMPLING * degree) for degree in degrees]
        if len(self.group.cosets) * math.prod(points) * self.matrix.numel() > _LARGEST_ORBIT:
            return math.inf
        factor = math.prod(oversampling_factor(d, n) for d, n in zip(degrees, points, strict=True))
        grids = [[c(2 * math.pi * i / n) for i in range(n)] for c, n in zip(self.group.circles, points, strict=True)]
        moved = self.matrix[None]
        for part in reversed([self.group.cosets, *grids]):  # rho_out(g) W rho_in(g)^T, one factor after the other
            moved = torch.cat([self._move(g, moved) for g in part])
        return factor * float(spectral_norm(moved - self.matrix).max())

    @property
    def _sides(self) -> tuple[Fields, Fields]:
        return self.in_fields, self.out_fields

    def _move(self, element: GroupElement, matrices: Tensor) -> Tensor:
        """g . W for a batch, (n, out, in)."""
        moved = act_on_rows(element, matrices.transpose(0, 1), self.out_fields)
        return act_on_rows(element, moved.transpose(0, 2), self.in_fields).permute(1, 2, 0)

    @cached_property
    def lipschitz(self) -> float:
        """||W||."""
        return float(spectral_norm(self.matrix))

    @cached_property
    def rounding(self) -> float:
        """gamma_n || |W| ||."""
        return self.accumulated(self.matrix.shape[1] + 1) * float(spectral_norm(self.matrix.abs()))

    def refusal(self, element: GroupElement, input_shape: Sequence[int]) -> str | None:
        """Nothing is refused."""
        return None
