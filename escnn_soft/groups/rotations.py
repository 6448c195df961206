"""SO(3) and O(3): Clebsch-Gordan coefficients, and the spherical harmonics that go with them."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from escnn.group import so3_group
from numpy.typing import NDArray

from escnn_soft._compat import racah
from escnn_soft.linalg import RANK_TOLERANCE

__all__ = ["clebsch_gordan", "harmonic_ladder", "spherical_harmonics"]

Matrix = NDArray[np.float64]

_AXES = np.eye(3)


@cache
def clebsch_gordan(left: int, right: int, degree: int) -> Matrix:
    """The intertwiner from psi_degree into psi_left (x) psi_right, in escnn's real bases.

    Orthonormal columns, and the first entry (row by row) that is not zero is positive.

    Args:
        left: l.
        right: m.
        degree: j, from |l - m| to l + m.

    Returns:
        A with (psi_l (x) psi_m)(g) A = A psi_j(g).  # shape: ((2 l + 1)(2 m + 1), 2 j + 1)

    Example:
        >>> product = clebsch_gordan(1, 1, 0).reshape(3, 3)  # the scalar product
        >>> bool(np.allclose(product, np.eye(3) / 3**0.5))
        True
    """
    copy = racah.clebsch_gordan(left, right, degree).reshape(-1, 2 * degree + 1)
    first = np.flatnonzero(np.abs(copy) > RANK_TOLERANCE * math.sqrt(copy.shape[1]))[0]
    return copy * np.sign(copy.flat[first])


def spherical_harmonics(degree: int, directions: Matrix) -> Matrix:
    """Y with Y(g x) = psi(g) Y(x), psi the irrep of O(3) of parity (-1)^degree, by degree-raising products.

    Unique up to a factor; normalised to |Y(x)|^2 = 2 degree + 1 on unit vectors.

    Args:
        degree: l.
        directions: unit vectors.  # shape: (points, 3)

    Returns:
        The harmonics.  # shape: (points, 2 l + 1)

    Example:
        >>> y_z_x = np.roll(np.eye(3), -1, axis=1)
        >>> bool(np.allclose(spherical_harmonics(1, np.eye(3)), 3**0.5 * y_z_x))
        True
    """
    values = np.ones((len(directions), 1))
    for step in harmonic_ladder(degree):
        values = _products(values, directions) @ step
    return values


@cache
def harmonic_ladder(degree: int) -> tuple[Matrix, ...]:
    """C_l (3 (2 l - 1), 2 l + 1) with Y_l(x) = (Y_(l - 1)(x) (x) x) C_l, for l from 1 to a degree."""
    if degree == 0:
        return ()
    below = harmonic_ladder(degree - 1)
    standard = np.asarray(so3_group().standard_representation().change_of_basis, dtype=np.float64)
    # the coordinates of psi_1 are x @ standard
    step = np.kron(np.eye(2 * degree - 1), standard) @ clebsch_gordan(degree - 1, 1, degree)
    values = np.ones((1, 1))
    for lower in below:
        values = _products(values, _AXES[:1]) @ lower
    # |C^T (Y (x) x)|^2 is the same for all unit vectors
    length = float(np.linalg.norm(_products(values, _AXES[:1]) @ step))
    return *below, step * (math.sqrt(2 * degree + 1) / length)


def _products(values: Matrix, directions: Matrix) -> Matrix:
    """Y (x) x, point by point."""
    return np.einsum("pa,pb->pab", values, directions).reshape(len(directions), -1)
