"""Splitting orthogonal representations into irreps, from the matrices of random elements alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["STEPS", "average", "intertwiner", "split"]

STEPS = 120
"""Random elements averaged over; each halves, in the mean square, what is left to average away."""

_APART = 1e-7
"""Difference of two eigenvalues of a random invariant matrix of norm about 1 that tells two irreps."""

_NOTHING = 1e-8
"""Norm of an averaged random matrix, as a fraction of its own norm, below which there is no intertwiner."""


def average(matrix: Tensor, actions: Iterable[Callable[[Tensor], Tensor]]) -> Tensor:
    r"""The mean of g . Y over a compact group: Y <- (Y + g . Y) / 2 with random g.

    A random g leaves half of the mean square of what is not invariant, so the error after k steps is 2^(-k/2), and
    the law of g need not be Haar measure, as long as it is spread over the whole group.

    Args:
        matrix: Y.
        actions: of random elements, Y -> g . Y.

    Returns:
        The invariant part of Y.
    """
    for act in actions:
        matrix = (matrix + act(matrix)) / 2
    return matrix


def split(size: int, elements: Iterable[Tensor], source: torch.Generator) -> list[Tensor]:
    r"""Orthonormal bases of irreducible subspaces that together fill a space.

    A random symmetric matrix that commutes with the group has, with probability 1, irreducible eigenspaces.

    Source: Murota et al., "A numerical algorithm for block-diagonal decomposition of matrix *-algebras", Japan J.
    Indust. Appl. Math. 27 (2010), section 3; the invariant matrix comes from averaging.

    Args:
        size: n.
        elements: rho(g) of random elements, orthogonal.  # each: (n, n)
        source: of random numbers.

    Returns:
        Matrices with orthonormal columns.  # each: (n, d)
    """
    y = torch.randn(size, size, dtype=torch.float64, generator=source) / size**0.5
    y = average(y + y.mT, (_conjugation(g, g) for g in elements))
    values, vectors = torch.linalg.eigh((y + y.mT) / 2)
    ends = (values.diff() > _APART).nonzero()[:, 0].add(1).tolist()
    return list(vectors.tensor_split(ends, dim=1))


def intertwiner(rho: Iterable[Tensor], psi: Iterable[Tensor], size: int, source: torch.Generator) -> Tensor | None:
    r"""An orthogonal A with rho(g) A = A psi(g), for irreps rho and psi of the same size; None if they differ.

    Args:
        rho: matrices of random elements.  # each: (d, d)
        psi: of the same elements.  # each: (d, d)
        size: d.
        source: of random numbers.

    Returns:
        The intertwiner: by Schur's lemma a multiple of what averaging leaves of a random matrix.  # shape: (d, d)
    """
    start = torch.randn(size, size, dtype=torch.float64, generator=source)
    y = average(start, (_conjugation(r, p) for r, p in zip(rho, psi, strict=True)))
    if float(y.norm()) <= _NOTHING * float(start.norm()):
        return None
    return y * (size**0.5 / y.norm())


def _conjugation(left: Tensor, right: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda y: left @ y @ right.mT
