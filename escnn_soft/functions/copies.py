"""The functions on a kernel's points, split into copies of irreps: the band limit first, then the remainder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from escnn.gspaces import GSpace
from numpy.typing import NDArray

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.functions.grid import Grid, grid_action, grid_exact
from escnn_soft.linalg import extend_orthonormal

__all__ = ["SpatialCopy", "SplitFunctions", "split_functions"]

Matrix = NDArray[np.float64]

Candidates = Sequence[tuple[IrrepId, Matrix]]
"""Sampled functions that transform under irreps.  # each: (points, d)"""

ALIAS_TOLERANCE = 1e-4
"""Relative singular value below which sampled harmonics count as dependent, and norm, for rings of norm 1, below which
one misses all points: escnn samples them in float32."""

INDEPENDENT = 0.05
"""What a harmonic has to add to those before it, where some are dependent: the next best choice is a sound one."""


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


@dataclass(frozen=True, eq=False)
class SplitFunctions:
    """All functions on the grid, split into copies of irreps.

    Attributes:
        copies: the band limit first, then the remainder; their functions together are a basis.
        dependent: how many sampled harmonics of the band limit are what others make of them, so that they are no copy.
    """

    copies: tuple[SpatialCopy, ...]
    dependent: int


def split_functions(gspace: GSpace, kernel_size: int, candidates: Candidates) -> SplitFunctions:
    """Split all functions on the grid into copies of irreps: the band limit first, then the remainder.

    Few pixels far apart cannot tell many harmonics: of those that are linearly dependent there, as many as are not form
    the band limit. What the pixels hold beyond it is remainder.

    Args:
        gspace: escnn gspace on the plane or in space.
        kernel_size: pixels along a side.
        candidates: the band limit, sampled, low frequencies first; functions that miss all points are left out.

    Returns:
        For a group that acts on the grid, copies that are orthonormal, and on which the pixel action is exact;
        otherwise the candidates themselves and an orthonormal remainder without a law.
    """
    sampled = [(irrep, v) for irrep, v in candidates if np.linalg.norm(v) > ALIAS_TOLERANCE]
    copies = (_exact_copies if grid_exact(gspace) else _continuous_copies)(gspace, kernel_size, sampled)
    return SplitFunctions(tuple(copies), len(sampled) - sum(not copy.remainder for copy in copies))


def _exact_copies(gspace: GSpace, kernel_size: int, sampled: Candidates) -> list[SpatialCopy]:
    copies = []
    group, grid = gspace.fibergroup, Grid(gspace.dimensionality, kernel_size)
    permutations = [grid.permutation(grid_action(gspace, g)) for g in group.elements]
    for psi in group.irreps():
        own = [v for irrep, v in sampled if irrep == psi.id]
        harmonic = extend_orthonormal([], own, ALIAS_TOLERANCE)
        if len(harmonic) < len(own):
            harmonic = extend_orthonormal([], own, INDEPENDENT)
        matrices = [psi(g) for g in group.elements]
        # what is left of a function that is nearly dependent has lost digits: the group gives them back
        harmonic = extend_orthonormal([], [_average(permutations, matrices, v) for v in harmonic])
        rest = extend_orthonormal(harmonic, _averages(permutations, matrices))
        copies += [SpatialCopy(psi.id, v, False) for v in harmonic] + [SpatialCopy(psi.id, v, True) for v in rest]
    assert sum(copy.functions.shape[1] for copy in copies) == len(grid.points)
    return copies


def _average(permutations: Sequence[NDArray[np.int64]], psi: Sequence[Matrix], functions: Matrix) -> Matrix:
    """The nearest intertwiner to functions (points, d): mean over g of pi(g) functions psi(g)^T."""
    moved = np.zeros((len(psi), *functions.shape))
    for image, permutation, matrix in zip(moved, permutations, psi, strict=True):
        image[permutation] = functions @ matrix.T
    return np.mean(moved, axis=0)


def _averages(permutations: Sequence[NDArray[np.int64]], psi: Sequence[Matrix]) -> Matrix:
    """Reynolds operator: sum over g of pi(g) delta_pixel (psi(g) e_i)^T, intertwiners for every pixel and every i."""
    points, d = len(permutations[0]), len(psi[0])
    result = np.zeros((points, d, points, d))
    for permutation, matrix in zip(permutations, psi, strict=True):
        result[np.arange(points), :, permutation] += matrix.T
    return result.reshape(points * d, points, d)


def _continuous_copies(gspace: GSpace, kernel_size: int, sampled: Candidates) -> list[SpatialCopy]:
    scaled = [SpatialCopy(irrep, v, False) for irrep, v in _independent(sampled)]
    if not scaled:
        return _lawless(np.eye(kernel_size**gspace.dimensionality))
    u, s, _ = np.linalg.svd(np.concatenate([copy.functions for copy in scaled], axis=1))
    return scaled + _lawless(np.eye(len(u)) - u[:, : len(s)] @ u[:, : len(s)].T)


def _independent(sampled: Candidates) -> Candidates:
    """As many of some functions as are independent, each irrep as a whole, the first ones first."""
    if not sampled:
        return sampled
    every, largest = np.concatenate([v for _, v in sampled], axis=1), max(np.linalg.norm(v, 2) for _, v in sampled)
    s = np.linalg.svd(every, compute_uv=False)
    if every.shape[1] <= len(s) and s[-1] > ALIAS_TOLERANCE * s[0]:
        return sampled
    chosen, span = [], np.zeros((len(every), 0))
    for irrep, v in sampled:
        rest = v - span @ (span.T @ v)
        u, s, _ = np.linalg.svd(rest - span @ (span.T @ rest), full_matrices=False)
        if v.shape[1] <= len(v) and s[-1] > INDEPENDENT * largest:
            chosen.append((irrep, v))
            span = np.concatenate([span, u], axis=1)
    return chosen


def _lawless(complement: Matrix) -> list[SpatialCopy]:
    """Orthonormal functions that span the image of an orthogonal projector."""
    return [SpatialCopy(None, v, True) for v in extend_orthonormal([], list(complement.T[:, :, None]))]
