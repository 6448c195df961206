"""Every element of an infinite group at once: those of a grid, and how far the others can be from the nearest one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import reduce

import torch
from escnn.group import GroupElement
from escnn.nn import FieldType
from torch import Tensor

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.certification.fact import sample_norms
from escnn_soft.functions import act_on_fibres
from escnn_soft.groups import fibre_group

__all__ = ["Net"]

_POINTS = {1: 512, 2: 128, 3: 32}
"""Points on each circle, by the number of circles."""


class Net:
    r"""A product grid g = coset * circle_1(t_1) * ... * circle_r(t_r) of a group, and its mesh.

    Every element has a neighbour g' on the grid with |t_i - t_i'| <= pi / n for each of n points on a circle, and a
    circle moves a vector of an irrep of degree m by at most m |t_i - t_i'| times its length, so that

        ||rho(g) x - rho(g') x|| <= sum_i sqrt( sum over irreps (m_i pi / n)^2 ||x_irrep||^2 ),     at most 2 ||x||

    where the length of the part in an irrep is the same on the whole orbit.

    Args:
        field_type: of features without a base space, of an infinite group with at most three circles.
    """

    def __init__(self, field_type: FieldType) -> None:
        self._group = fibre_group(field_type.gspace)
        self._points = _POINTS[len(self._group.circles)]

    @staticmethod
    def exists(field_type: FieldType | None) -> bool:
        """Whether a group has such a grid."""
        return field_type is not None and len(fibre_group(field_type.gspace).circles) in _POINTS

    def mesh(self, field_type: FieldType | None, x: Tensor) -> Tensor:
        """Largest distance ||rho(g) x - rho(g') x|| of an element from its nearest one, sample by sample.

        Args:
            field_type: of x; None if the group acts trivially on it.
            x: features.  # shape: (samples, channels, ...)

        Returns:
            The distance, in double precision.  # shape: (samples,)
        """
        total = torch.zeros(len(x), dtype=torch.float64)
        if field_type is None:
            return total
        energies = _energies(field_type, x)
        for index in range(len(self._group.circles)):
            squares = [
                (self._group.degrees(irrep)[index] * math.pi / self._points) ** 2 * energy
                for irrep, energy in energies.items()
            ]
            total = total + sum(squares, torch.zeros_like(total)).sqrt()
        return torch.minimum(total, 2 * sample_norms(x))

    def images(self, field_type: FieldType | None, x: Tensor) -> Iterator[Tensor]:
        """rho(g) x on the grid, many elements at a time, always in the same order.

        Args:
            field_type: of x; None if the group acts trivially on it.
            x: features.  # shape: (samples, channels, ...)

        Yields:
            Some of them.  # shape: (elements * samples, channels, ...)
        """
        angles = [2 * math.pi * i / self._points for i in range(self._points)]
        circles = [[circle(t) for t in angles] for circle in self._group.circles]
        outer = [self._group.cosets, *circles[:-2]]
        inner = reduce(lambda some, circle: _moved(field_type, some, circle), reversed(circles[-2:]), x)
        for element in reduce(lambda some, circle: [g @ h for g in some for h in circle], outer[1:], list(outer[0])):
            yield inner if field_type is None else act_on_fibres(element, inner, field_type)

    def largest(
        self,
        run: Callable[[Tensor], Tensor],
        before: tuple[FieldType | None, Tensor],
        after: tuple[FieldType | None, Tensor],
    ) -> Tensor:
        """max over the grid of ||f(g x) - g f(x)||, sample by sample.

        Args:
            run: f.
            before: type of x, and x.
            after: type of f(x), and f(x).

        Returns:
            The error, in double precision.  # shape: (samples,)
        """
        samples = len(before[1])
        found = torch.zeros(samples, dtype=torch.float64)
        for moved, expected in zip(self.images(*before), self.images(*after), strict=True):
            errors = sample_norms(run(moved).double() - expected.double())
            found = torch.maximum(found, errors.view(-1, samples).amax(dim=0))
        return found


def _moved(field_type: FieldType | None, x: Tensor, circle: list[GroupElement]) -> Tensor:
    """rho(g) x for all g of a circle, one after the other."""
    if field_type is None:
        return torch.cat([x] * len(circle))
    return torch.cat([act_on_fibres(g, x, field_type) for g in circle])


def _energies(field_type: FieldType, x: Tensor) -> dict[IrrepId, Tensor]:
    """Squared length of the part of each sample in each irrep."""
    energies: dict[IrrepId, Tensor] = {}
    columns = x.detach().double().cpu().flatten(2) if x.ndim > 2 else x.detach().double().cpu()[..., None]
    sizes = [rho.size for rho in field_type.representations]
    for rho, part in zip(field_type.representations, columns.split(sizes, dim=1), strict=True):
        coordinates = torch.from_numpy(rho.change_of_basis_inv).double() @ part
        parts = coordinates.square().sum(dim=2).split([rho.group.irrep(*irrep).size for irrep in rho.irreps], dim=1)
        for irrep, energy in zip(rho.irreps, parts, strict=True):
            energies[irrep] = energies.get(irrep, torch.zeros(len(x), dtype=torch.float64)) + energy.sum(dim=1)
    return energies
