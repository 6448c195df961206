"""What the spectrum needs to know of a fibre group: how products of irreps split, and how much each irrep violates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import numpy as np
from escnn.group import Group, IrreducibleRepresentation
from numpy.typing import NDArray

__all__ = ["FibreGroup", "IrrepId", "Splitting"]

IrrepId = tuple[Any, ...]
"""An escnn irrep id, e.g. ``(1,)`` of C_4 or ``(1, 2)`` of O(2)."""

Splitting = tuple[tuple[IrrepId, NDArray[np.float64]], ...]
"""Orthonormal intertwiners (lambda, A), A of shape (n, d_lambda), whose images together fill the space."""


class FibreGroup(ABC):
    """An escnn group with the two facts that grade weights: Clebsch-Gordan splittings and violations.

    Args:
        group: the escnn group.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.trivial: IrrepId = group.trivial_representation.id
        # One memo per group rather than per irrep object: escnn rebuilds equal irreps freely.
        self.product = cache(self._product)
        self.violation = cache(self._violation)

    def irrep(self, irrep: IrrepId) -> IrreducibleRepresentation:
        """The escnn irrep of an id, built on demand above the group's maximum frequency."""
        return self.group.irrep(*irrep)

    def size(self, irrep: IrrepId) -> int:
        """Dimension of an irrep."""
        return int(self.irrep(irrep).size)

    @property
    @abstractmethod
    def worst_violation(self) -> float:
        """Largest violation of any irrep of the group, infinite for Lie groups."""

    @abstractmethod
    def _product(self, left: IrrepId, right: IrrepId) -> Splitting:
        """Clebsch-Gordan splitting: (psi_left (x) psi_right)(g) A = A psi_lambda(g), rows indexed (left, right)."""

    @abstractmethod
    def _violation(self, irrep: IrrepId) -> float:
        """Root mean square of the stacked generators: sqrt(tr(L^T L) / d), zero for the trivial irrep alone."""
