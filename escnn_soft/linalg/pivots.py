"""The order in which Gram-Schmidt takes intertwiners, from their products alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["TIE_TOLERANCE", "pivots"]

Matrix = NDArray[np.float64]

TIE_TOLERANCE = 1e-6
"""Difference of lengths below which the first candidate wins, so that rounding does not choose the basis."""


def pivots(products: Callable[[int], Matrix], overlap: Matrix, d: int, size: int, tolerance: float) -> list[int]:
    r"""Candidates c_1, c_2, ... in the order in which Gram-Schmidt takes them: the longest residual comes next.

    A Cholesky factorisation of the matrix of products, row by row: with the image u = r / |r| of a residual r of c_p,

        u^T c_q = (c_p^T c_q - sum over v before of (v^T c_p)^T (v^T c_q)) / |r|,    |r_q|^2 = 1 - sum |v^T c_q|^2

    so that no residual is formed. What has none left is not looked at again.

    Args:
        products: from p to c_p^T c_q for all q, side by side.  # shape: (d, candidates * d)
        overlap: v^T c_q of the images that are there at first.  # shape: (images, candidates * d)
        d: columns of a candidate, which are orthogonal and of length 1.
        size: rows of a candidate: no more orthonormal columns than that.
        tolerance: length of a residual that counts as zero.

    Returns:
        Places of the candidates that are taken.
    """
    alive, found = np.arange(overlap.shape[1] // d), list[int]()
    rows, used = np.empty((size + d, overlap.shape[1])), len(overlap)
    rows[:used] = overlap
    squares = 1 - _squares(overlap, d)
    while used < size and len(alive):
        lengths = np.sqrt(np.maximum(squares, 0))
        if lengths.max() <= tolerance:
            break
        p = int(np.argmax(lengths > lengths.max() - TIE_TOLERANCE))
        found.append(int(alive[p]))
        mine, every = rows[:used, p * d : (p + 1) * d], rows[:used]
        fresh = rows[used : used + d]
        fresh[:] = (_of(products(found[-1]), alive, d) - mine.T @ every) / lengths[p]
        used += d
        squares -= _squares(fresh, d)
        squares[p] = 0
        left = squares > tolerance**2
        if 2 * left.sum() < len(alive):  # copying the factor costs as much as a few steps
            shorter = np.empty((size + d, int(left.sum()) * d))
            shorter[:used] = _of(rows[:used], np.flatnonzero(left), d)
            alive, squares, rows = alive[left], squares[left], shorter
    return found


def _squares(rows: Matrix, d: int) -> Matrix:
    """Mean square length of the columns of each candidate, from rows (k, candidates * d)."""
    result: Matrix = np.square(rows).sum(axis=0).reshape(-1, d).sum(axis=1) / d
    return result


def _of(rows: Matrix, candidates: NDArray[np.int64], d: int) -> Matrix:
    """The columns of some candidates."""
    places = (candidates[:, None] * d + np.arange(d)).ravel()
    return rows[:, places]
