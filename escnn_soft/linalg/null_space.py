"""Null spaces and singular levels of stacked constraints: dense, or matrix-free by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ZERO_TOLERANCE", "null_space", "singular_levels"]

LEVEL_TOLERANCE = 1e-8
"""Singular values that differ by less, as a fraction of the largest, are one level; 0 is a level of its own."""

ZERO_TOLERANCE = 1e-12
"""Singular values up to here, as a fraction of the largest, are rounding and count as 0."""

_HALF_DIGITS = 1e-6
"""Eigenvalues of L^T L below this fraction of the largest have lost half their digits: L itself is asked again."""

_BLOCK = 16
"""Random vectors projected at once."""

_CONVERGED = 1e-14
"""Residual of conjugate gradients, as a fraction of the first one."""

_ITERATIONS = 2000

Operator = Callable[[Tensor], Tensor]


def singular_levels(gram: Tensor, constraint: Operator) -> tuple[Tensor, Tensor]:
    r"""Right singular vectors of a constraint L, singular values ascending, those of a level exactly equal.

    One eigenproblem of L^T L gives all vectors. What lies near the null space is rotated by the singular value
    decomposition of L on it, because squaring has cost it half the digits.

    Args:
        gram: L^T L, float64.  # shape: (n, n)
        constraint: V -> L V.  # shape: (n, k) -> (rows, k)

    Returns:
        Singular values, 0 exactly in the null space, and orthonormal vectors in the columns.  # shapes: (n,), (n, n)

    Example:
        >>> L = torch.tensor([[0.0, 3.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
        >>> singular_levels(L.T @ L, lambda v: L @ v)[0]
        tensor([0., 3., 3.], dtype=torch.float64)
    """
    values, vectors = torch.linalg.eigh(gram)
    top = float(values[-1].clamp(min=0.0))
    sigmas = values.clamp(min=0.0).sqrt()
    small = int((values <= _HALF_DIGITS * top).sum())
    if top > 0 and small:
        image = constraint(vectors[:, :small])
        # L V = U S W^T by its small Gram factor: R of a QR decomposition keeps all digits
        _, s, w = torch.linalg.svd(torch.linalg.qr(image, mode="r").R, full_matrices=True)
        padded = torch.cat([s, s.new_zeros(small - len(s))]).flip(0)
        sigmas = torch.cat([padded, sigmas[small:]])
        vectors = torch.cat([vectors[:, :small] @ w.mT.flip(1), vectors[:, small:]], dim=1)
    return _level_values(sigmas, top**0.5), vectors


def _level_values(sigmas: Tensor, top: float) -> Tensor:
    """Ascending values, each replaced by the mean of its level; levels are separated by gaps above the tolerance."""
    if len(sigmas) == 0:
        return sigmas
    zero = sigmas <= ZERO_TOLERANCE * top
    apart = (sigmas.diff() > LEVEL_TOLERANCE * top) | zero.diff()
    starts = torch.cat([sigmas.new_ones(1), apart.to(sigmas)]).cumsum(0).long() - 1
    counts = torch.bincount(starts)
    means = sigmas.new_zeros(len(counts)).index_add(0, starts, sigmas) / counts
    return torch.where(zero, 0.0, means[starts])


def null_space(gram: Operator, size: int, tolerance: float = 1e-6) -> Tensor:
    r"""Orthonormal basis of the null space of a symmetric positive semidefinite operator that is never formed.

    Conjugate gradients for gram x = 0 from a random start change the start by elements of the range alone, so they
    converge to its component in the null space, at a rate set by the gap and without knowing it. Blocks of random
    vectors are projected until one adds nothing.

    Args:
        gram: V -> L^T L V, in float64.  # shape: (n, k) -> (n, k)
        size: n.
        tolerance: length of a projected random unit vector, relative to its expected length for one more dimension,
            below which the block adds nothing.

    Returns:
        The basis in the columns.  # shape: (n, nullity)

    Example:
        >>> q = torch.diag(torch.tensor([0.0, 1.0, 2.0, 0.0], dtype=torch.float64))
        >>> null_space(lambda v: q @ v, 4).shape
        torch.Size([4, 2])
    """
    generator = torch.Generator().manual_seed(0)
    basis = torch.zeros(size, 0, dtype=torch.float64)
    while basis.shape[1] < size:
        start = torch.randn(size, _BLOCK, dtype=torch.float64, generator=generator)
        start = _without(start, basis)
        found = _without(_null_component(gram, _null_component(gram, start)), basis)
        u, s, _ = torch.linalg.svd(found, full_matrices=False)
        new = u[:, s > tolerance]  # a random vector's component along one more direction has length about 1
        if new.shape[1]:
            # small components have large relative errors: once more, from vectors that lie in the null space already
            basis = torch.linalg.qr(torch.cat([basis, _null_component(gram, new)], dim=1)).Q
        if new.shape[1] < _BLOCK:
            return basis
    return basis[:, :size]


def _without(vectors: Tensor, basis: Tensor) -> Tensor:
    return vectors - basis @ (basis.mT @ vectors)


def _null_component(gram: Operator, start: Tensor) -> Tensor:
    """The component of each column in the null space of ``gram``."""
    x, r = start, -gram(start)
    p, rho = r, r.square().sum(0)
    enough = _CONVERGED**2 * torch.maximum(rho, start.square().sum(0))
    for _ in range(_ITERATIONS):
        active = rho > enough
        if not bool(active.any()):
            break
        q = gram(p)
        curvature = (p * q).sum(0)
        alpha = torch.where(active & (curvature > 0), rho / curvature.clamp(min=torch.finfo(q.dtype).tiny), 0.0)
        x, r = x + alpha * p, r - alpha * q
        following = r.square().sum(0)
        p = r + torch.where(active, following / rho.clamp(min=torch.finfo(q.dtype).tiny), 0.0) * p
        rho = torch.where(active, following, rho)
    return x
