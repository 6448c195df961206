"""How the elements of a certificate act on one tensor of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from escnn.group import GroupElement
from escnn.nn import FieldType, GeometricTensor
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.escnn.stored_arguments import different_representations
from escnn_soft.functions import act, act_on_fibres, matrix_at, moves_pixels, stored_axes

__all__ = ["Action", "is_permutation"]

Matrix = NDArray[np.float64]

TOLERANCE = 1e-6
"""Deviation below which a matrix counts as orthogonal, as the identity or as a permutation: some of escnn's
representations are known in single precision only."""


@dataclass(frozen=True, eq=False)
class Action:
    """An isometric action on the channels of a tensor, and on its pixels.

    Attributes:
        elements: the element of each row; None stands for every element of the group at once.
        type: how the channels transform; None for a tensor on which the group acts trivially.
        pixels: whether the pixels move too.
    """

    elements: tuple[GroupElement | None, ...]
    type: FieldType | None
    pixels: bool

    def __call__(self, row: int, x: Tensor) -> Tensor:
        """The tensor transformed by the element of a row."""
        element = self.elements[row]
        assert element is not None
        if self.type is None:
            return x
        if self.pixels:
            return act(element, GeometricTensor(x, self.type)).tensor
        return act_on_fibres(element, x, self.type)

    def retyped(self, field_type: FieldType) -> Action:
        """The same elements on fields of another type of the same gspace."""
        return Action(self.elements, field_type, self.pixels and field_type.gspace.dimensionality > 0)

    def matrix(self, row: int) -> Matrix:
        """rho(g) on the channels."""
        assert self.type is not None
        return np.asarray(self.type.representation(self.elements[row]))

    def blocks(self, row: int) -> list[Matrix]:
        """The different blocks of which rho(g) consists, one for each representation that occurs."""
        element = self.elements[row]
        assert self.type is not None
        assert element is not None
        return [matrix_at(rho, element) for rho in different_representations(self.type)]

    def fixes_channels(self) -> bool:
        """Whether every field is trivial, so that channels stay as they are."""
        return self.type is None or all(rho.is_trivial() for rho in different_representations(self.type))

    def is_identity(self, row: int) -> bool:
        """Whether the element of a row is known to act trivially."""
        if self.type is None or (self.fixes_channels() and not self.pixels):
            return True
        element = self.elements[row]
        return element is not None and element == element.group.identity

    def rounding(self, row: int, dtype: torch.dtype) -> float:
        """|fl(rho(g) x) - rho(g) x| / |x|: gamma_n || |rho(g)| ||, the matrix rounded to the dtype first.

        0 for trivial fields; little where the matrix moves entries or changes their signs, up to its own rounding.

        Args:
            row: of the element.
            dtype: of the tensor.

        Returns:
            The relative error.
        """
        if self.elements[row] is None or self.fixes_channels():
            return 0.0
        blocks, unit = self.blocks(row), torch.finfo(dtype).eps / 2
        size = max(len(block) for block in blocks)
        if all(is_permutation(block, signed=True) for block in blocks):
            stray = max(float(np.abs(block - np.rint(block)).max()) for block in blocks)
            return size * stray + (2 * unit if stray else 0.0)
        return (size + 4) * size**0.5 * unit

    def motion(self, row: int) -> tuple[tuple[int, int], ...]:
        """Axes of pixels that move, each with the axis that takes its place; windows have to be centred and alike."""
        element = self.elements[row]
        if self.type is None or not self.pixels or element is None:
            return ()
        axes = enumerate(stored_axes(self.type.gspace, element))
        return tuple((axis, source) for axis, (source, sign) in axes if source != axis or sign < 0)

    def moved_shape(self, row: int, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of a tensor of some shape that is transformed by the element of a row."""
        moved = list(shape)
        for axis, source in self.motion(row):
            moved[2 + axis] = shape[2 + source]
        return tuple(moved)

    def agrees(self, field_type: FieldType) -> bool:
        """Whether a field of some type is transformed in the same way."""
        if self.type is None:
            return field_type.gspace.dimensionality == 0 and all(r.is_trivial() for r in field_type.representations)
        if field_type == self.type:
            return self.pixels == (field_type.gspace.dimensionality > 0)
        if field_type.size != self.type.size or self.pixels != (field_type.gspace.dimensionality > 0):
            return False
        if field_type.fibergroup != self.type.fibergroup or None in self.elements:
            return False
        if self.pixels and field_type.gspace != self.type.gspace:
            return False
        return all(
            np.abs(self.matrix(row) - field_type.representation(g)).max() < 1e-9 for row, g in enumerate(self.elements)
        )

    def obstacle(self, row: int) -> str | None:
        """Why the action of a row is no isometry of the tensor's grid; None if it is one."""
        if self.type is None:
            return None
        for rho in different_representations(self.type):
            basis = rho.change_of_basis
            if np.abs(basis.T @ basis - np.eye(rho.size)).max() > TOLERANCE:
                return f"representation {rho.name!r} is not orthogonal, so lengths are not kept"
        element = self.elements[row]
        if self.pixels and (element is None or not moves_pixels(self.type.gspace, element)):
            return "the element does not map the pixel grid to itself: it would have to be interpolated"
        return None

    def concatenated(self, others: Sequence[Action]) -> Action | None:
        """The action on channels side by side, None if the tensors transform too differently."""
        parts = [self, *others]
        if all(part.type is None for part in parts):
            return self
        if any(part.type is None or part.pixels != self.pixels for part in parts):
            return None
        types = [part.type for part in parts if part.type is not None]
        if any(part.gspace != types[0].gspace for part in types):
            return None
        return Action(
            self.elements, FieldType(types[0].gspace, [r for t in types for r in t.representations]), self.pixels
        )


def is_permutation(matrix: Matrix, *, signed: bool = False, tolerance: float = TOLERANCE) -> bool:
    """Whether an orthogonal (n, n) matrix moves coordinates: one entry a row and column, 1 or, where signed, +-1."""
    rounded = np.rint(matrix)
    if np.abs(matrix - rounded).max() > tolerance:
        return False
    size = np.abs(rounded) if signed else rounded
    return bool((size >= 0).all() and (size.sum(axis=0) == 1).all() and (size.sum(axis=1) == 1).all())
