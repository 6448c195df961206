"""The largest error over a group: enumerated where it is finite, sampled with a certified factor where it is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Orbit", "error_form", "error_forms", "largest_squared_error", "squared_errors"]

_LONG = 2**20
"""Numbers of a matrix up to which all grid points are asked at once."""


@dataclass(frozen=True, eq=False)
class Orbit:
    r"""Irreps of a group on a product grid: g = coset * circle_1(t_1) * ... * circle_r(t_r).

    A finite group has no circles: its cosets are its elements. SO(2) has one circle, O(2) one circle and two cosets,
    SO(3) three circles, the Euler angles.

    Attributes:
        stacks: for each irrep the matrices of the cosets and of each circle.  # each: (points, d, d)
        excursions: for each irrep an upper bound on max_g ||psi(g) - I||.
        factor: sup of any e(g)^2 over the group, divided by its maximum on the grid, is at most this; 1 if finite,
            infinite for a grid that certifies nothing, so that the excursions have to.
    """

    stacks: tuple[tuple[Tensor, ...], ...]
    excursions: tuple[float, ...]
    factor: float

    def to(self, device: torch.device, dtype: torch.dtype) -> Orbit:
        """The orbit on a device in a dtype."""
        stacks = tuple(tuple(part.to(device, dtype) for part in stack) for stack in self.stacks)
        return Orbit(stacks, self.excursions, self.factor)


def squared_errors(grams: Sequence[Tensor], orbit: Orbit) -> Tensor:
    r"""e(g)^2 = 2 sum over lambda of [tr M_lambda - tr(psi_lambda(g) M_lambda)] on the grid.

    Args:
        grams: M_lambda = sum over the coefficient vectors w of w w^T, one an irrep.  # each: (d, d)
        orbit: the grid.

    Returns:
        One value a grid point.  # shape: (cosets * points of the first circles, points of the last circles)
    """
    total: Tensor | float = 0.0
    for gram, stack in zip(grams, orbit.stacks, strict=True):
        half = (len(stack) + 1) // 2
        left, right = _products(stack[:half]), _products([*stack[half:], gram[None]])
        traces = left.flatten(1) @ right.mT.flatten(1).T
        total = total + 2 * (torch.trace(gram) - traces)
    assert isinstance(total, Tensor)
    return total


def error_forms(orbit: Orbit) -> Tensor | None:
    """:func:`squared_errors` as one matrix on the entries of all Gram matrices, each row by row.

    Args:
        orbit: the grid.

    Returns:
        One row a grid point; None if there are too many.  # shape: (points, sum of d^2)
    """
    points = math.prod(len(part) for part in orbit.stacks[0])
    if points * sum(len(stack[0][0]) ** 2 for stack in orbit.stacks) > _LONG:
        return None
    psis = [_products(stack) for stack in orbit.stacks]
    return torch.cat([2 * (torch.eye(psi.shape[-1]).to(psi) - psi.mT).flatten(1) for psi in psis], dim=1)


def error_form(orbit: Orbit, place: Tensor) -> Tensor:
    """The row of :func:`error_forms` for one grid point, however many there are.

    Args:
        orbit: the grid.
        place: of the point, as :func:`squared_errors` counts them.  # shape: ()

    Returns:
        The row.  # shape: (sum of d^2,)
    """
    row, places = [], torch.unravel_index(place, [len(part) for part in orbit.stacks[0]])
    for stack in orbit.stacks:
        psi = _products([part.index_select(0, i[None]) for part, i in zip(stack, places, strict=True)])[0]
        row.append(2 * (torch.eye(len(psi)).to(psi) - psi.mT).flatten())
    return torch.cat(row)


def largest_squared_error(grams: Sequence[Tensor], orbit: Orbit) -> Tensor:
    r"""Upper bound on sup_g e(g)^2, differentiable; equal to the maximum for finite groups.

    e(g)^2 is a trigonometric polynomial in each circle's angle, so that its supremum is at most ``orbit.factor`` times
    its maximum on the grid; and it is at most sum of excursion_lambda^2 tr M_lambda.

    Args:
        grams: one an irrep.  # each: (d, d)
        orbit: the grid.

    Returns:
        The bound.  # shape: ()
    """
    crude = torch.stack([c**2 * torch.trace(m) for c, m in zip(orbit.excursions, grams, strict=True)]).sum()
    if math.isinf(orbit.factor):
        return crude
    sampled = squared_errors(grams, orbit).max() * orbit.factor
    return torch.minimum(sampled, crude).clamp(min=0.0)


def _products(factors: Sequence[Tensor]) -> Tensor:
    """All products A_1[i] A_2[j] ..., the last index running fastest."""
    result = factors[0]
    for factor in factors[1:]:
        result = (result[:, None] @ factor[None]).flatten(0, 1)
    return result
