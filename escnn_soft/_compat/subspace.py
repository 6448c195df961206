"""What depends on a subspace alone, not on the basis in which a solver happened to return it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["canonical_basis", "orthogonal_member"]

Matrix = NDArray[np.float64]

_RANK = 1e-6
"""Residual of a unit vector's projection that counts as zero: far above rounding, far below what groups have."""


def canonical_basis(basis: Matrix) -> Matrix:
    """The orthonormal basis of a subspace that depends on the subspace alone, to rounding.

    Gram-Schmidt on the columns P e_1, P e_2, ... of the orthogonal projector P, in this order. The i-th basis vector
    has a positive entry where it was found, so the signs are fixed too.

    Args:
        basis: any orthonormal basis, in the columns.  # shape: (n, k)

    Returns:
        The canonical one.  # shape: (n, k)

    Example:
        >>> turned = np.array([[0.6, 0.8], [-0.8, 0.6], [0.0, 0.0]])
        >>> canonical_basis(turned).round(12).tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    basis = np.asarray(basis)
    count = basis.shape[1]
    turn = np.zeros((count, 0))  # P e_i = basis @ (row i), so the rows are orthonormalised
    for row in basis:
        if turn.shape[1] == count:
            break
        residual = row
        for _ in range(2):  # once more: removes what rounding left
            residual = residual - turn @ (turn.T @ residual)
        length = float(np.linalg.norm(residual))
        if length > _RANK:
            turn = np.column_stack([turn, residual / length])
    assert turn.shape[1] == count, "the basis is not orthonormal"
    return basis @ turn


def orthogonal_member(basis: Matrix, shape: tuple[int, int]) -> Matrix:
    """An orthogonal matrix in a space of intertwiners between two equivalent orthogonal representations.

    The identity or the reversed identity if it lies in the space. Otherwise the polar factor X (X^T X)^(-1/2) of the
    projection X of a fixed matrix onto the space: X^T X commutes with the representation, so the factor intertwines
    too.

    Args:
        basis: orthonormal basis of the space of matrices, columns stacked.  # shape: (n * n, k)
        shape: (n, n).

    Returns:
        The matrix, a function of the space alone, to rounding.  # shape: (n, n)
    """
    eye = np.eye(*shape)
    for simple in (eye, np.fliplr(eye)):  # symmetric, so that the order of stacking does not matter
        if np.allclose(simple.ravel(), basis @ (basis.T @ simple.ravel())):
            return simple
    source = np.random.RandomState(0)  # its stream is frozen
    best, spread = eye, math.inf
    for _ in range(4):  # the best conditioned of a few
        x = (basis @ (basis.T @ source.standard_normal(math.prod(shape)))).reshape(shape, order="F")
        u, s, v = np.linalg.svd(x)
        if s[0] < spread * s[-1] * (1 - _RANK):  # a tie must not be left to rounding
            best, spread = u @ v, s[0] / s[-1]
    return best
