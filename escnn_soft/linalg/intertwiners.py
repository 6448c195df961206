"""Orthonormal bases of intertwiners: maps A with rho(g) A = A psi(g), psi irreducible.

For an irreducible psi every intertwiner is an isometry up to scale (A^T A is symmetric and commutes with psi, hence a
multiple of the identity), so that Gram-Schmidt works on whole intertwiners: subtract the projection onto the images
accepted so far, which are invariant subspaces, and normalise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["RANK_TOLERANCE", "extend_orthonormal", "intertwiners"]

Matrix = NDArray[np.float64]

RANK_TOLERANCE = 1e-6
"""Length (of a residual, relative; of a vector, absolute) and squared singular value that count as zero."""

TIE_TOLERANCE = 1e-6
"""Difference of lengths below which the first candidate wins, so that rounding does not choose the basis."""


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
    residuals, images = np.stack(kept), list(accepted)
    new: list[Matrix] = []
    for image in images:
        residuals -= image @ (image.T @ residuals)
    while True:
        lengths = np.linalg.norm(residuals, axis=(1, 2)) / np.sqrt(residuals.shape[2])
        if lengths.max() <= tolerance:
            return new
        residual = residuals[np.argmax(lengths > lengths.max() - TIE_TOLERANCE)]
        for image in images:  # once more: removes what rounding left
            residual = residual - image @ (image.T @ residual)
        image = residual * (np.sqrt(residual.shape[1]) / np.linalg.norm(residual))
        images.append(image)
        new.append(image)
        residuals = residuals - image @ (image.T @ residuals)


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
