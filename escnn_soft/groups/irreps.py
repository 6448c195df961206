"""What a group tells of its irreps: the protocols that a group of any kind satisfies, and that a new one implements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from escnn_soft.bounds import IrrepId, Orbit

__all__ = ["Irrep", "IrrepId", "IrrepProducts", "IrrepTable", "Irreps", "Splitting"]

Splitting = tuple[tuple[IrrepId, NDArray[np.float64]], ...]
"""Orthonormal intertwiners (lambda, A), A of shape (n, d_lambda), whose images together fill the space."""


@runtime_checkable
class Irrep(Protocol):
    """A real representation g -> psi(g) that does not split; those of escnn are such."""

    @property
    def size(self) -> int:
        """Dimension d."""

    def __call__(self, element: Any, /) -> NDArray[np.float64]:
        """psi(g), (d, d)."""


@runtime_checkable
class IrrepTable(Protocol):
    """What a level asks of a group; escnn's groups are such."""

    def irrep(self, *irrep: Any) -> Irrep:
        """The irrep of an id, as in ``group.irrep(*id)``."""


@runtime_checkable
class Irreps(Protocol):
    """What transforms and budgets ask of a group, however it is given; irreps go by their ids.

    Of a level without an irrep nothing is asked: an orthogonal action moves a weight R by at most 2 ||R||, and that is
    what budgets and certificates count.
    """

    @property
    def trivial(self) -> IrrepId:
        """The irrep of what the group leaves alone."""

    def size(self, irrep: IrrepId) -> int:
        """Dimension of an irrep, without building it where that can be helped."""

    def orbit(self, irreps: Sequence[IrrepId]) -> Orbit:
        """What certifies a supremum over the group.

        Args:
            irreps: ids.

        Returns:
            The irreps on the same elements: all of a finite group, a grid of a Lie group, and any, with an infinite
            factor, where only ||psi(g) - I|| is bounded.
        """


@runtime_checkable
class IrrepProducts(Irreps, Protocol):
    r"""What grades kernels: how products of irreps split, and how much each irrep violates.

    With them a group has transforms of the maps between its fields, and every policy. Certificates ask for a
    :class:`escnn_soft.bounds.Symmetry` as well.

    Example:
        >>> from escnn import group, gspaces
        >>> from escnn_soft.grading import ChannelFrame, KernelSpace, weight_transform
        >>> from escnn_soft.groups import fibre_group
        >>> d3 = group.dihedral_group(3)
        >>> irreps = fibre_group(gspaces.no_base_space(d3))  # in place of your own group's
        >>> frame = ChannelFrame.of(irreps, [d3.regular_representation])  # in place of your own fields
        >>> [(level.name, level.dim) for level in weight_transform(frame, frame, KernelSpace.point(irreps)).levels]
        [('irrep_0,0', 6), ('irrep_1,1', 24), ('irrep_1,0', 6)]
    """

    @property
    def group(self) -> IrrepTable:
        """The group that levels name: escnn's, or a new group itself."""

    @property
    def worst_violation(self) -> float:
        """Largest violation of any irrep, infinite for Lie groups: what a remainder without a law counts with."""

    def product(self, left: IrrepId, right: IrrepId) -> Splitting:
        """How the tensor product of two irreps splits.

        Args:
            left: id of psi.
            right: id of phi.

        Returns:
            Clebsch-Gordan splitting: (psi (x) phi)(g) A = A psi_lambda(g), rows indexed (left, right).
        """

    def violation(self, irrep: IrrepId) -> float:
        """Root mean square of the stacked generators: sqrt(tr(L^T L) / d), zero for the trivial irrep alone."""
