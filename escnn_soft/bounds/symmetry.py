"""What the bounds ask of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from escnn_soft.bounds.orbit import Orbit

__all__ = ["IrrepId", "Symmetry"]

IrrepId = tuple[Any, ...]
"""A group's id of an irrep: escnn's for a group of escnn, e.g. ``(1,)`` of C_4 or ``(1, 2)`` of O(2)."""


class Symmetry(Protocol):
    """What a certificate asks of a group."""

    @property
    def curve(self) -> tuple[Any, ...]:
        """Elements to draw a profile at: all of a finite group."""

    def matrix(self, irrep: IrrepId, element: Any) -> Tensor:
        """psi(g) in float64, (d, d)."""

    def check(self, element: Any) -> None:
        """Refuse what is not an element of the group."""

    def is_identity(self, element: Any) -> bool:
        """Whether the element is the group's identity."""

    def rate(self, irrep: IrrepId) -> float:
        """Least upper bound of ||psi(g) - I|| / angle over the rotations g."""

    def orbit(self, irreps: Sequence[IrrepId]) -> Orbit:
        """The irreps on a grid that certifies a supremum."""
