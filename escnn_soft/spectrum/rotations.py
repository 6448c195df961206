"""SO(3) and O(3): Clebsch-Gordan coefficients by the Casimir, and the spherical harmonics that go with them.

The Casimir of psi_l (x) psi_m is diagonal on its irreps with eigenvalues j (j + 1), each of which occurs once: one
symmetric eigenproblem of size (2 l + 1)(2 m + 1) splits the product, and only the basis within each part, of size
2 j + 1, is left to find. The null space over all intertwiners would have (2 l + 1)(2 m + 1)(2 j + 1) unknowns.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from escnn.group import SO3, so3_group
from numpy.typing import NDArray

from escnn_soft.linalg import RANK_TOLERANCE, intertwiners

__all__ = ["clebsch_gordan", "harmonic_ladder", "spherical_harmonics"]

Matrix = NDArray[np.float64]

_AXES = np.eye(3)


@cache
def clebsch_gordan(left: int, right: int, degree: int) -> Matrix:
    """The intertwiner from psi_degree into psi_left (x) psi_right, in escnn's real bases.

    Canonical: orthonormal columns, and the first entry (row by row) that is not zero is positive.

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
    part = _split(left, right)[degree]
    products = [np.kron(psi, phi) for psi, phi in zip(_turns(left), _turns(right), strict=True)]
    (inner,) = intertwiners([part.T @ rho @ part for rho in products], list(_turns(degree)))
    copy = part @ inner
    first = np.flatnonzero(np.abs(copy) > RANK_TOLERANCE * math.sqrt(copy.shape[1]))[0]
    return copy * np.sign(copy.flat[first])


@cache
def _split(left: int, right: int) -> dict[int, Matrix]:
    """Orthonormal bases of the parts of psi_l (x) psi_m, by degree."""
    identities = np.eye(2 * left + 1), np.eye(2 * right + 1)
    casimir = sum(
        (np.kron(x, identities[1]) + np.kron(identities[0], y))
        @ (np.kron(x, identities[1]) + np.kron(identities[0], y))
        for x, y in zip(_generators(left), _generators(right), strict=True)
    )
    values, vectors = np.linalg.eigh(-casimir)
    degrees = np.rint((np.sqrt(1 + 4 * np.abs(values)) - 1) / 2).astype(int)  # j (j + 1), solved for j
    return {j: vectors[:, degrees == j] for j in range(abs(left - right), left + right + 1)}


@cache
def _turns(degree: int) -> tuple[Matrix, Matrix]:
    """psi of one radian about x and about z: irrational parts of a turn, which generate a dense subgroup."""
    group = so3_group()
    return _irrep(degree, group.element(_AXES[0], "EV")), _irrep(degree, group.element(_AXES[2], "EV"))


@cache
def _generators(degree: int) -> tuple[Matrix, Matrix, Matrix]:
    """dpsi(X), dpsi(Y), dpsi(Z): derivatives at 0 of trigonometric polynomials of this degree, exact from samples."""
    group, n = so3_group(), 2 * degree + 1
    angles = [2 * math.pi * i / n for i in range(1, n)]
    # the derivative of the Dirichlet interpolant at 0: weight (-1)^(i + 1) / (2 sin(t_i / 2)) on f(t_i)
    weights = [(-1) ** (i + 1) / (2 * math.sin(t / 2)) for i, t in enumerate(angles, start=1)]
    zero = np.zeros((n, n))
    x, y, z = (
        sum((w * _irrep(degree, group.element(t * axis, "EV")) for w, t in zip(weights, angles, strict=True)), zero)
        for axis in _AXES
    )
    return x, y, z


def _irrep(degree: int, element: object) -> Matrix:
    group: SO3 = so3_group()
    return np.asarray(group.irrep(degree)(element), dtype=np.float64)


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
    """The matrices with Y_l(x) = (Y_(l - 1)(x) (x) x) C_l, for l from 1 to a degree.

    Args:
        degree: the highest.

    Returns:
        One matrix a degree.  # each: (3 (2 l - 1), 2 l + 1)
    """
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
