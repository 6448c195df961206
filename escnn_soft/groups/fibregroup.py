"""What the spectrum needs to know of a fibre group: how products of irreps split, and how much each irrep violates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from itertools import product

import numpy as np
import torch
from escnn.group import Group, GroupElement, IrreducibleRepresentation
from torch import Tensor

from escnn_soft.bounds import Orbit
from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.errors import ArgumentError
from escnn_soft.groups.irreps import Splitting
from escnn_soft.linalg import oversampling_factor, spectral_norm

__all__ = ["Circle", "FibreGroup"]

Circle = Callable[[float], GroupElement]
"""A one-parameter subgroup t -> exp(t X) of period 2 pi."""

_SMALL = 0.01
"""An angle at which the eigenvalues e^(i m t) of a circle tell every frequency |m| < pi / t."""


class FibreGroup(ABC):
    """An escnn group with what grades weights, Clebsch-Gordan splittings and violations, and what bounds their errors.

    Every element is coset * circle_1(t_1) * ... * circle_r(t_r); the cosets of a finite group are its elements.

    Args:
        group: the escnn group.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.trivial: IrrepId = group.trivial_representation.id
        # One memo per group rather than per irrep object: escnn rebuilds equal irreps freely.
        self.product = cache(self._product)
        self.violation = cache(self._violation)
        self.rate = cache(self._rate)
        self.excursion = cache(self._excursion)
        self.degrees = cache(self._degrees)
        self._samples = cache(self._sample)

    def irrep(self, irrep: IrrepId) -> IrreducibleRepresentation:
        """The escnn irrep of an id, built on demand above the group's maximum frequency."""
        return self.group.irrep(*irrep)

    def size(self, irrep: IrrepId) -> int:
        """Dimension of an irrep."""
        return int(self.irrep(irrep).size)

    @property
    @abstractmethod
    def worst_violation(self) -> float:
        """Largest violation of any irrep of the group, infinite for Lie groups."""

    @abstractmethod
    def _product(self, left: IrrepId, right: IrrepId) -> Splitting:
        """Clebsch-Gordan splitting: (psi_left (x) psi_right)(g) A = A psi_lambda(g), rows indexed (left, right)."""

    @abstractmethod
    def _violation(self, irrep: IrrepId) -> float:
        """Root mean square of the stacked generators: sqrt(tr(L^T L) / d), zero for the trivial irrep alone."""

    @abstractmethod
    def _rate(self, irrep: IrrepId) -> float:
        """Least upper bound of ||psi(g) - I|| / angle over the rotations g of the group."""

    # ------------------------------------------------------------------ the group as a whole

    @property
    @abstractmethod
    def circles(self) -> tuple[Circle, ...]:
        """One-parameter subgroups; none for a finite group."""

    @property
    @abstractmethod
    def cosets(self) -> tuple[GroupElement, ...]:
        """Elements that the products of the circles leave out; all elements of a finite group."""

    @cached_property
    def curve(self) -> tuple[GroupElement, ...]:
        """Elements to draw a profile at."""
        if len(self.circles) > 1:
            return tuple(self.group.testing_elements())
        angles = [2 * math.pi * i / 128 for i in range(128)] if self.circles else []
        return tuple(c @ self.circles[0](t) for c, t in product(self.cosets, angles)) if angles else self.cosets

    def check(self, element: object) -> None:
        """Refuse what is not an element of the group, with an ``ArgumentError``."""
        if not isinstance(element, GroupElement) or element.group != self.group:
            remedy = "Take one of gspace.fibergroup.elements, or gspace.fibergroup.element(...)."
            raise ArgumentError("element", element, f"an element of {self.group}", remedy)

    def is_identity(self, element: GroupElement) -> bool:
        """Whether an element is the identity."""
        return bool(element == self.group.identity)

    def matrix(self, irrep: IrrepId, element: GroupElement) -> Tensor:
        """psi(g), (d, d)."""
        return torch.from_numpy(np.asarray(self.irrep(irrep)(element), dtype=np.float64))

    def orbit(self, irreps: Sequence[IrrepId]) -> Orbit:
        """Irreps on the cosets times equidistant points of the circles, with the factor of Ehlich and Zeller."""
        oversampling = 32 if len(self.circles) == 1 else 16
        degrees = [max(d) for d in zip(*(self.degrees(irrep) for irrep in irreps), strict=True)]
        points = tuple(max(1, oversampling * degree) for degree in degrees)
        factor = math.prod(oversampling_factor(d, n) for d, n in zip(degrees, points, strict=True))
        stacks = tuple(self._samples(irrep, points) for irrep in irreps)
        return Orbit(stacks, tuple(self.excursion(irrep) for irrep in irreps), factor)

    def _degrees(self, irrep: IrrepId) -> tuple[int, ...]:
        """Highest frequency of an irrep along each circle."""
        spectra = [np.angle(np.linalg.eigvals(self.irrep(irrep)(circle(_SMALL)))) for circle in self.circles]
        return tuple(round(float(np.abs(angles).max()) / _SMALL) for angles in spectra)

    def _sample(self, irrep: IrrepId, points: tuple[int, ...]) -> tuple[Tensor, ...]:
        """An irrep's matrices at the cosets and at equidistant points of each circle."""
        grids = [
            [circle(2 * math.pi * i / n) for i in range(n)] for circle, n in zip(self.circles, points, strict=True)
        ]
        return tuple(torch.stack([self.matrix(irrep, g) for g in part]) for part in (self.cosets, *grids))

    def _excursion(self, irrep: IrrepId) -> float:
        """max_g ||psi(g) - I|| of a finite group, its upper bound 2 of any other."""
        if self.circles:
            return 2.0
        moved = torch.stack([self.matrix(irrep, g) for g in self.cosets]) - torch.eye(self.size(irrep))
        return float(spectral_norm(moved).max())
