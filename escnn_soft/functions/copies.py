"""The functions on a kernel's points, split into copies of irreps: the band limit first, then the remainder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from escnn.gspaces import GSpace
from numpy.typing import NDArray

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.errors import AliasedBasisError
from escnn_soft.functions.grid import Grid, grid_action, grid_exact
from escnn_soft.linalg import RANK_TOLERANCE, extend_orthonormal

__all__ = ["SpatialCopy", "split_functions"]

Matrix = NDArray[np.float64]

Candidates = Sequence[tuple[IrrepId, Matrix]]
"""Sampled functions that transform under irreps.  # each: (points, d)"""

ALIAS_TOLERANCE = 1e-4
"""Relative singular value below which sampled harmonics count as dependent: escnn samples them in float32."""

_REMEDY = (
    "Lower frequencies_cutoff, use fewer rings, or enlarge kernel_size, until the sampled harmonics are independent."
)


@dataclass(frozen=True, eq=False)
class SpatialCopy:
    """One copy of an irrep among the functions on the grid.

    Attributes:
        irrep: the irrep's id, None for functions on which the group has no law.
        functions: sampled functions, pi(g) functions = functions psi(g).  # shape: (points, d)
        remainder: whether they lie beyond the band limit.
    """

    irrep: IrrepId | None
    functions: Matrix
    remainder: bool


def split_functions(gspace: GSpace, kernel_size: int, candidates: Candidates) -> list[SpatialCopy]:
    """Split all functions on the grid into copies of irreps: the band limit first, then the remainder.

    Args:
        gspace: escnn gspace on the plane or in space.
        kernel_size: pixels along a side.
        candidates: the band limit, sampled; functions that miss all points are left out.

    Returns:
        Copies whose functions together are a basis of all functions on the grid. For a group that acts on the grid
        they are orthonormal and the pixel action is exact; otherwise they are the candidates themselves and an
        orthonormal remainder without a law.

    Raises:
        AliasedBasisError: if the candidates are linearly dependent.
    """
    try:
        split = _exact_copies if grid_exact(gspace) else _continuous_copies
        return split(gspace, kernel_size, candidates)
    except _DependentError as error:
        excess, where = error.args
        sides = " x ".join([str(kernel_size)] * gspace.dimensionality)
        expected = f"independent harmonics on the {sides} grid ({where})"
        raise AliasedBasisError("dependent harmonics", excess, expected, _REMEDY) from None


class _DependentError(Exception):
    """(number of dependent functions, among which)."""


def _exact_copies(gspace: GSpace, kernel_size: int, candidates: Candidates) -> list[SpatialCopy]:
    copies = []
    group, grid = gspace.fibergroup, Grid(gspace.dimensionality, kernel_size)
    permutations = [grid.permutation(grid_action(gspace, g)) for g in group.elements]
    for psi in group.irreps():
        sampled = [v for irrep, v in candidates if irrep == psi.id and np.linalg.norm(v) > RANK_TOLERANCE]
        harmonic = extend_orthonormal([], sampled, ALIAS_TOLERANCE)
        if len(harmonic) < len(sampled):
            raise _DependentError(len(sampled) - len(harmonic), str(psi.name))
        rest = extend_orthonormal(harmonic, _averages(permutations, [psi(g) for g in group.elements]))
        copies += [SpatialCopy(psi.id, v, False) for v in harmonic] + [SpatialCopy(psi.id, v, True) for v in rest]
    assert sum(copy.functions.shape[1] for copy in copies) == len(grid.points)
    return copies


def _averages(permutations: Sequence[NDArray[np.int64]], psi: Sequence[Matrix]) -> Matrix:
    """Reynolds operator: sum over g of pi(g) delta_pixel (psi(g) e_i)^T, intertwiners for every pixel and every i."""
    points, d = len(permutations[0]), len(psi[0])
    result = np.zeros((points, d, points, d))
    for permutation, matrix in zip(permutations, psi, strict=True):
        result[np.arange(points), :, permutation] += matrix.T
    return result.reshape(points * d, points, d)


def _continuous_copies(gspace: GSpace, kernel_size: int, candidates: Candidates) -> list[SpatialCopy]:
    scaled = [SpatialCopy(irrep, v, False) for irrep, v in candidates if np.linalg.norm(v) > RANK_TOLERANCE]
    if not scaled:
        return _lawless(np.eye(kernel_size**gspace.dimensionality))
    u, s, _ = np.linalg.svd(np.concatenate([copy.functions for copy in scaled], axis=1))
    columns = sum(copy.functions.shape[1] for copy in scaled)
    rank = int(np.sum(s > ALIAS_TOLERANCE * s[0]))
    if rank < columns:
        raise _DependentError(columns - rank, "all irreps together")
    return scaled + _lawless(np.eye(len(u)) - u[:, :rank] @ u[:, :rank].T)


def _lawless(complement: Matrix) -> list[SpatialCopy]:
    """Orthonormal functions that span the image of an orthogonal projector."""
    return [SpatialCopy(None, v, True) for v in extend_orthonormal([], list(complement.T[:, :, None]))]
