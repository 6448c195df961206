"""The orthogonal factor of a matrix, damped, by matrix products alone."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

__all__ = ["damped_orthogonal", "largest_squared", "newton_schulz_steps"]

_SQUARINGS = 3


def largest_squared(gram: Tensor) -> Tensor:
    r"""The largest eigenvalue of a positive matrix, or a little more.

        lambda_max <= (tr A^16)^(1/16) = ||A^8||_F^(1/8) <= n^(1/16) lambda_max

    Power iteration would be nearer, but starts from a vector, which the group would have to leave alone; this is a
    function of the eigenvalues.

    Args:
        gram: A.  # shape: (n, n)

    Returns:
        A number, as a tensor.
    """
    scale = _positive(torch.linalg.matrix_norm(gram))
    power = gram / scale
    for _ in range(_SQUARINGS):
        power = power @ power
    return scale * torch.linalg.matrix_norm(power) ** (0.5**_SQUARINGS)


def damped_orthogonal(matrix: Tensor, reference: Tensor, damping: float) -> Tensor:
    r"""A matrix with its singular values s made nearly equal: s / sqrt(s^2 + damping^2 reference).

        O = (M M^T + rho^2 ref 1)^(-1/2) M

    by Newton and Schulz's coupled iteration, in the dtype of the matrix. It is a polynomial of M M^T times M, so it
    commutes with orthogonal matrices on either side whatever number of steps is taken. Damping bounds by 1 / rho how
    much more a direction of rounding grows than one of the largest singular value; without it both become 1.

    Source: Higham, "Functions of Matrices" (2008), eq. 6.35, for the iteration; Jordan et al., "Muon" (2024), for
    orthogonalised steps, without damping.

    Args:
        matrix: M.  # shape: (m, n)
        reference: ref, at least the largest squared singular value of M.  # shape: ()
        damping: rho > 0.

    Returns:
        The matrix O.  # shape: (m, n)
    """
    if matrix.shape[0] > matrix.shape[1]:
        return damped_orthogonal(matrix.T, reference, damping).T
    scale = _positive((1 + damping**2) * reference)
    one = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    Y = (matrix @ matrix.T) / scale + damping**2 / (1 + damping**2) * one
    Z = one
    for _ in range(newton_schulz_steps(damping, torch.finfo(matrix.dtype).eps)):
        T = 1.5 * one - 0.5 * Z @ Y
        Y, Z = Y @ T, T @ Z
    return Z @ matrix / scale.sqrt()


@cache
def newton_schulz_steps(damping: float, eps: float) -> int:
    """Steps until the smallest damped singular value, rho / sqrt(1 + rho^2) of the largest, is 1 up to eps."""
    value, steps = damping / (1 + damping**2) ** 0.5, 0
    while 1 - value > eps:
        value, steps = value * (3 - value**2) / 2, steps + 1
    return steps


def _positive(x: Tensor) -> Tensor:
    return x.clamp_min(torch.finfo(x.dtype).tiny ** 0.5)
