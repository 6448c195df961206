"""The largest of many operator norms, proven by Cholesky factorisations where singular values are not needed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["largest_norm", "spectral_norm"]

_FEW = 32
"""Matrices of so many rows or columns have their singular values found at once."""

_POWER_STEPS = 8
"""Steps of power iteration that tell which matrix may have the largest norm."""

_CHUNK = 32
"""Matrices that are multiplied at once in double precision."""

_SECOND_ORDER = 1.1
"""gamma_n / (1 - gamma_n) is at most so many times n u, for n u <= 0.04."""


def spectral_norm(matrices: Tensor) -> Tensor:
    r"""Largest singular value of each matrix, never below it.

    ||A||^2 is the largest eigenvalue of A^H A; what LAPACK's backward error may hide, a small multiple of
    (m + n) eps, is added.

    Args:
        matrices: real or complex, in double precision.  # shape: (..., m, n)

    Returns:
        An upper bound for each, too large by 1e-12 or so.  # shape: (...)

    Example:
        >>> spectral_norm(torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)))
        tensor(3.0000, dtype=torch.float64)
    """
    m, n = matrices.shape[-2:]
    parts = torch.view_as_real(matrices.resolve_conj()).flatten(-2) if matrices.is_complex() else matrices
    scale = parts.abs().amax(dim=(-2, -1))
    matrices = matrices / torch.where(scale > 0, scale, 1.0)[..., None, None]  # no square overflows or vanishes
    gram = matrices.mH @ matrices if n <= m else matrices @ matrices.mH
    top = torch.linalg.eigvalsh(gram)[..., -1].clamp(min=0.0)
    return scale * top.sqrt() * (1 + 8 * (m + n + 1) * torch.finfo(torch.float64).eps)


def largest_norm(batches: Iterable[Tensor]) -> float:
    r"""The maximum of :func:`spectral_norm` over all matrices of some batches, in a fraction of the time.

    Power iteration picks a matrix whose norm may be the largest, and its singular values give b. That another one has a
    norm of at most b needs no singular values: it has where a Cholesky factorisation exists,

        ||A|| <= b   iff   b^2 I - A^H A is positive semidefinite.

    Single precision proves it for most, double precision for those close to b; the norm of one for which it does not is
    the next b. What rounding can hide is subtracted from b^2 beforehand.

    Source: Rump, "Verification of positive definiteness", BIT 46 (2006).

    Args:
        batches: real or complex, in double precision.  # shape of each: (N, m, n)

    Returns:
        An upper bound on all norms, too large by 1e-10 or so.

    Example:
        >>> round(largest_norm([torch.diag_embed(torch.tensor([[3.0, 1.0], [2.0, 4.0]], dtype=torch.float64))]), 6)
        4.0
    """
    bound, room = 0.0, 1.0
    for given in batches:
        matrices = given if given.shape[-2] >= given.shape[-1] else given.mH
        (m, n), scale = matrices.shape[-2:], _largest_entry(matrices)
        if scale == 0.0:
            continue
        if n <= _FEW or len(matrices) == 1:
            bound = max(bound, float(spectral_norm(matrices).max()))
            continue
        room = max(room, 1 + _unit(torch.complex128) * ((m + n + 16) * n + 4))
        bound = scale * _risen(bound / scale, matrices / scale, room)  # no square overflows or vanishes
    return bound * room**2


def _risen(bound: float, matrices: Tensor, room: float) -> float:
    """The bound, or the larger norm of a matrix, such that all norms are at most ``room`` times as large."""
    m = matrices.shape[-2]
    bound, left = _left_by_single_precision(bound, matrices)
    for part in matrices[left].split(_CHUNK):
        gram = part.mH @ part
        unproven = ~_at_most(bound * room, gram, m)
        while bool(unproven.any()):
            first = int(unproven.nonzero()[0])
            bound = max(bound, float(spectral_norm(part[first])))
            unproven[first] = False
            others = unproven.nonzero()[:, 0]
            unproven[others] = ~_at_most(bound * room, gram[others], m)
    return bound


def _left_by_single_precision(bound: float, matrices: Tensor) -> tuple[float, Tensor]:
    """The bound, or the larger norm of a matrix, and the numbers of those that are not proven to have smaller ones."""
    m, single = matrices.shape[-2], matrices.to(torch.complex64 if matrices.is_complex() else torch.float32)
    gram = single.mH @ single
    left = (~_at_most(bound, gram, m)).nonzero()[:, 0]
    gram, estimates = gram[left], _largest_eigenvalues(gram[left])
    while len(left) and float(estimates.max()) > bound**2:
        largest = int(estimates.argmax())
        bound = max(bound, float(spectral_norm(matrices[left[largest]])))
        estimates[largest] = 0.0
        still = ~_at_most(bound, gram, m)
        left, gram, estimates = left[still], gram[still], estimates[still]
    return bound, left


def _largest_eigenvalues(gram: Tensor) -> Tensor:
    """Not more than the largest eigenvalue of each, rounding aside, and close to it where that one stands out."""
    x = torch.randn(1, gram.shape[-1], generator=torch.Generator().manual_seed(0)).to(gram).expand(len(gram), 1, -1)
    for _ in range(_POWER_STEPS):
        x = torch.nn.functional.normalize(x, dim=2) @ gram
    return x.norm(dim=2)[:, 0]


def _largest_entry(matrices: Tensor) -> float:
    """Largest real or imaginary part."""
    parts = torch.view_as_real(matrices.resolve_conj()) if matrices.is_complex() else matrices
    return max(abs(float(end)) for end in parts.aminmax())


def _at_most(bound: float, gram: Tensor, m: int) -> Tensor:
    """Whether A of m rows is proven to have no larger norm, for the computed Gram matrix A^H A of each."""
    n = gram.shape[-1]
    squares = gram.diagonal(dim1=1, dim2=2).real.sum(dim=1)  # ||A||_F^2
    # A^H A is off by (m + 8) u ||A||_F^2, and a factorisation hides (n + 8) u times the trace of what it factorises
    rounding = _unit(gram.dtype) * ((m - n) * squares + (n * (n + 8) + 4) * bound**2)
    rest = -gram
    rest.diagonal(dim1=1, dim2=2).add_((bound**2 - rounding)[:, None])
    return torch.linalg.cholesky_ex(rest).info == 0


def _unit(dtype: torch.dtype) -> float:
    """u, times 2 sqrt(2) as parts of complex products are sums of twice as many terms, and what is of order u^2."""
    return torch.finfo(dtype).eps / 2 * 2 * 2**0.5 * _SECOND_ORDER
