"""Haar measure of the classical compact groups: scipy draws a matrix, its logarithm names the element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import schur
from scipy.stats import special_ortho_group, unitary_group

from escnn_soft.groups.matrix.generators import Generators, MatrixElement

__all__ = ["Haar", "orthogonal", "special_orthogonal", "special_unitary"]

Haar: TypeAlias = Callable[[Generators, np.random.Generator], MatrixElement]
"""Draws an element of a group, given the generators in its defining representation."""


def special_orthogonal(generators: Generators, source: np.random.Generator) -> MatrixElement:
    """A rotation. The X_a are any orthogonal basis of the skew matrices, n >= 2.

    Args:
        generators: of SO(n) or O(n).
        source: of random numbers.

    Returns:
        The element, as one exponential.
    """
    rotation = special_ortho_group.rvs(generators.size, random_state=source)
    vectors, phases = _eigen(rotation)
    return MatrixElement((_coordinates(generators, ((vectors * 1j * phases) @ vectors.conj().T).real),))


def orthogonal(generators: Generators, source: np.random.Generator) -> MatrixElement:
    """A rotation or, as likely, a rotation times the one discrete generator, whose determinant is -1; n >= 2."""
    rotation = special_orthogonal(generators, source)
    return MatrixElement((*rotation.steps, 0)) if source.integers(2) else rotation


def special_unitary(generators: Generators, source: np.random.Generator) -> MatrixElement:
    """A unitary matrix of determinant 1, U / det(U)^(1/n) for U of Haar measure on U(n).

    Left translation by V in SU(n) keeps the law of U, and does not change its determinant.

    Args:
        generators: of SU(n) in real form, where x + i y is (x, y); the X_a are orthogonal to each other.
        source: of random numbers.

    Returns:
        The element, as one exponential.
    """
    n = generators.size // 2
    unitary = unitary_group.rvs(n, random_state=source)
    vectors, phases = _eigen(unitary / np.linalg.det(unitary) ** (1 / n))
    winding = round(phases.sum() / math.tau)  # the phases add up to a multiple of a turn, those of su(n) to 0
    phases[: abs(winding)] -= math.copysign(math.tau, winding)
    logarithm = (vectors * 1j * phases) @ vectors.conj().T
    real = np.block([[logarithm.real, -logarithm.imag], [logarithm.imag, logarithm.real]])
    return MatrixElement((_coordinates(generators, real),))


def _eigen(unitary: NDArray[np.generic]) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Eigenvectors and phases of eigenvalues: a normal matrix has a diagonal Schur form."""
    triangle, vectors = schur(unitary, output="complex")
    return vectors, np.angle(np.diagonal(triangle))


def _coordinates(generators: Generators, matrix: NDArray[np.float64]) -> tuple[float, ...]:
    """Of a matrix in the span of the X_a, which are orthogonal to each other."""
    x = generators.algebra
    products = torch.einsum("aij,ij->a", x, torch.from_numpy(matrix))
    return tuple((products / x.square().sum((1, 2))).tolist())
