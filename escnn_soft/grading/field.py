"""What a change of basis between channels and irreps asks of a field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from escnn_soft.bounds.symmetry import IrrepId

__all__ = ["Field"]


@runtime_checkable
class Field(Protocol):
    """A representation as a sum of irreps: rho(g) = Q (psi_1(g) (+) psi_2(g) (+) ...) Q^T; those of escnn are such."""

    @property
    def name(self) -> str:
        """Unique among the fields of a group: fields of one name share their change of basis."""

    @property
    def size(self) -> int:
        """Number of channels."""

    @property
    def irreps(self) -> Sequence[IrrepId]:
        """Ids of the irreps, with multiplicity, in the order of the columns of Q."""

    @property
    def change_of_basis(self) -> NDArray[np.float64]:
        """Q, (size, size), orthogonal."""
