"""Matrices and convolutions as they run: which elements they can be compared under, and how far they miss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from escnn.group import GroupElement, Representation
from escnn.gspaces import GSpace
from torch import Tensor

from escnn_soft.bounds import Execution, PixelErrors
from escnn_soft.functions import act_on_rows, moves_pixels, pixel_elements, pixel_permutation, stored_axes
from escnn_soft.groups import FibreGroup
from escnn_soft.layers.geometry import Movement
from escnn_soft.linalg import oversampling_factor, spectral_norm, unfolding_norm

__all__ = ["ConvolutionExecution", "MatrixExecution"]

Fields = Sequence[Representation]

_OVERSAMPLING = 8
"""Points of a circle per degree at which a matrix's error is decomposed."""

_LARGEST_ORBIT = 10**8
"""Numbers that may be decomposed for one operator norm over a Lie group; beyond it the Frobenius norm has to do."""


class ConvolutionExecution(Execution):
    """A convolution, transposed or not, exact under the elements that move pixels onto pixels.

    Args:
        gspace: escnn gspace on the plane or in space.
        in_fields: fields of the input (of one group, unless transposed).
        out_fields: fields of the output (of one group, if transposed).
        kernel: as it runs, in double precision.  # shape: (out, in / groups, k, ...) or (out / groups, in, k, ...)
        geometry: how it moves.
        dtype: in which the layer computes.
    """

    def __init__(
        self,
        gspace: GSpace,
        in_fields: Fields,
        out_fields: Fields,
        kernel: Tensor,
        geometry: Movement,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(dtype)
        self.gspace, self.in_fields, self.out_fields = gspace, in_fields, out_fields
        self.kernel, self.geometry = kernel, geometry
        self._error_norms: dict[GroupElement, float] = {}

    @cached_property
    def elements(self) -> tuple[GroupElement, ...]:
        """The elements that move pixels onto pixels and respect the geometry."""
        return tuple(g for g in pixel_elements(self.gspace) if self._lopsided(g) is None)

    def error(self, element: GroupElement) -> Tensor:
        """g . K - K on the pixels, in the kernel's shape."""
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
        """Upper bound on ||f(g x) - g f(x)|| / ||x||; that of the inverse, to the last digit."""
        element = min(element, ~element, key=str)
        if element not in self._error_norms:
            self._error_norms[element] = self.geometry.norm(self.error(element))
        return self._error_norms[element]

    @cached_property
    def worst_error_norm(self) -> float:
        """Upper bound over the elements that move pixels onto pixels."""
        return max(self.error_norm(g) for g in self.elements)

    @cached_property
    def worst_unfolded_norm(self) -> float:
        """Likewise, by unfoldings of the kernel."""
        elements = {min(g, ~g, key=str) for g in self.elements}  # the errors of g and of its inverse are equally large
        return max(self.geometry.norm(self.error(g), unfolding_norm) for g in elements)

    @property
    def frobenius_factor(self) -> float:
        """sum_p ||K(p)|| <= sqrt(n) ||K||_F over n pixels."""
        return self.geometry.repetition() * math.sqrt(self.kernel[0, 0].numel())

    @cached_property
    def lipschitz(self) -> float:
        """Upper bound on ||f(x) - f(y)|| / ||x - y||."""
        return self.geometry.norm(self.kernel)

    @cached_property
    def rounding(self) -> float:
        """n u || |K| ||, with n the number of products that are summed."""
        magnitude = self.kernel.abs().flatten(2).sum(2)  # the symbol of |K| is largest at frequency 0
        largest = max(float(spectral_norm(block)) for block in self.geometry.blocks(magnitude))
        return self.accumulated(self.kernel[0].numel() + 1) * largest * self.geometry.repetition()

    def refusal(self, element: GroupElement, input_shape: Sequence[int]) -> str | None:
        """Why the element is not covered on images (batch, channels, ..., height, width)."""
        if not moves_pixels(self.gspace, element):
            return f"{element} moves pixels off the grid"
        axes = enumerate(stored_axes(self.gspace, element))
        moved = [axis for axis, (source, sign) in axes if source != axis or sign < 0]
        reasons = [self._lopsided(element)]
        reasons += [self.geometry.off_centre(self.kernel.shape[-1], input_shape[2 + a], a) for a in moved]
        return next((reason for reason in reasons if reason is not None), None)

    def _lopsided(self, element: GroupElement) -> str | None:
        """Why an element that swaps axes does not respect the geometry."""
        axes = enumerate(stored_axes(self.gspace, element))
        different = (self.geometry.lopsided(axis, source) for axis, (source, _) in axes)
        argument = next((words for words in different if words is not None), None)
        return None if argument is None else f"{argument} differs between the axes that {element} swaps"


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
        """n u || |W| ||, with n the number of products that are summed."""
        return self.accumulated(self.matrix.shape[1] + 1) * float(spectral_norm(self.matrix.abs()))

    def refusal(self, element: GroupElement, input_shape: Sequence[int]) -> str | None:
        """Nothing is refused."""
        return None
