"""Orthonormal bases of intertwiners: maps A with rho(g) A = A psi(g), psi irreducible.

For an irreducible psi every intertwiner is an isometry up to scale (A^T A is symmetric and commutes with psi, hence a
multiple of the identity), so that Gram-Schmidt works on whole intertwiners: subtract the projection onto the images
accepted so far, which are invariant subspaces, and normalise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from escnn_soft.linalg.pivots import pivots

__all__ = ["RANK_TOLERANCE", "extend_orthonormal", "intertwiners"]

Matrix = NDArray[np.float64]

RANK_TOLERANCE = 1e-6
"""Length (of a residual, relative; of a vector, absolute) and squared singular value that count as zero."""

_SPARSE = 16
"""Numbers for each that is not 0 from which candidates, such as averages over a group of few elements, are sparse."""


def extend_orthonormal(
    accepted: Sequence[Matrix], candidates: Iterable[Matrix], tolerance: float = RANK_TOLERANCE
) -> list[Matrix]:
    """Gram-Schmidt on intertwiners: a well-conditioned choice of the directions that the candidates add.

    The candidate with the longest residual comes next, the first of them where lengths tie, so that the result depends
    neither on rounding nor on the machine.

    Args:
        accepted: intertwiners with orthonormal columns and mutually orthogonal images.  # each: (n, d)
        candidates: intertwiners of the same irrep. Lengths up to ``RANK_TOLERANCE`` are rounding.
        tolerance: relative length of a residual that counts as zero.

    Returns:
        New intertwiners with orthonormal columns, orthogonal to ``accepted`` and to each other.
    """
    kept = [c * (np.sqrt(c.shape[1]) / np.linalg.norm(c)) for c in candidates if np.linalg.norm(c) > RANK_TOLERANCE]
    if not kept:
        return []
    n, d = kept[0].shape
    columns, images = np.concatenate(kept, axis=1), np.concatenate([np.zeros((n, 0)), *accepted], axis=1)
    order = pivots(_products(kept, columns), images.T @ columns, d, n, tolerance)
    if not order:
        return []
    new = _orthonormal(np.concatenate([kept[p] for p in order], axis=1), images)
    return [new[:, i : i + d] for i in range(0, new.shape[1], d)]


def _products(candidates: Sequence[Matrix], columns: Matrix) -> Callable[[int], Matrix]:
    """From p to c_p^T c_q for all q, side by side."""
    d = candidates[0].shape[1]
    if _SPARSE * np.count_nonzero(columns) > columns.size:
        gram = columns.T @ columns
        return lambda p: gram[p * d : (p + 1) * d]

    def product(p: int) -> Matrix:
        support = np.flatnonzero(candidates[p].any(axis=1))
        result: Matrix = candidates[p][support].T @ columns[support]
        return result

    return product


def _orthonormal(columns: Matrix, images: Matrix) -> Matrix:
    """Gram-Schmidt on columns, one after the other and after orthonormal images: Q of QR where R is positive."""
    for _ in range(2):  # once more: removes what rounding left
        q, r = np.linalg.qr(columns - images @ (images.T @ columns))
        columns = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return columns


def intertwiners(rho: Sequence[Matrix], psi: Sequence[Matrix]) -> list[Matrix]:
    """All copies of an irrep psi inside a representation rho, as orthonormal embeddings in a canonical order.

    The null space of A -> (rho(g) A - A psi(g))_g is found jointly for all elements. Its orthogonal projector does not
    depend on which null vectors LAPACK returns; applying it to the unit matrices in order and orthonormalising makes
    the result reproducible on every machine.

    Args:
        rho: matrices of the elements.  # each: (n, n), orthogonal
        psi: matrices of the same elements in the irrep.  # each: (d, d), orthogonal

    Returns:
        Matrices A with orthonormal columns and mutually orthogonal images, rho(g) A = A psi(g).  # each: (n, d)
    """
    n, d = rho[0].shape[0], psi[0].shape[0]
    constraint = np.zeros((n * d, n * d))
    for r, p in zip(rho, psi, strict=True):
        # row-major vec: vec(rho A) = (rho (x) I) vec A and vec(A psi) = (I (x) psi^T) vec A; both factors orthogonal
        step = np.kron(r, np.eye(d)) - np.kron(np.eye(n), p.T)
        constraint += step.T @ step
    values, vectors = np.linalg.eigh(constraint)
    null = vectors[:, values < RANK_TOLERANCE]
    if null.shape[1] == 0:
        return []
    # Each unit matrix E_ij projects to a column of the projector.
    return extend_orthonormal([], ((null @ row).reshape(n, d) for row in null))
