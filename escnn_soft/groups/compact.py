"""Every other group of escnn: SO(3) and O(3) by the Casimir, polyhedral groups and products by joint null spaces."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
from escnn.group import DirectProductGroup, Group, GroupElement
from escnn.group import groups as escnn_groups
from numpy.typing import NDArray

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.groups.fibregroup import Circle, FibreGroup
from escnn_soft.groups.irreps import Splitting
from escnn_soft.groups.planar import PlanarGroup
from escnn_soft.groups.rotations import clebsch_gordan
from escnn_soft.linalg import intertwiners

__all__ = ["CompactGroup"]


class CompactGroup(FibreGroup):
    """A compact group given by elements that generate a dense subgroup.

    Args:
        group: an escnn group that is not planar.
        factors: the two factors of a direct product, else empty.
    """

    def __init__(self, group: Group, factors: tuple[FibreGroup, ...] = ()) -> None:
        super().__init__(group)
        self.factors = factors

    @property
    def worst_violation(self) -> float:
        """Largest violation of any irrep, infinite for Lie groups."""
        return math.inf if self.group.continuous else max(self.violation(psi.id) for psi in self.group.irreps())

    def _rate(self, irrep: IrrepId) -> float:
        """The degree l for SO(3) and O(3); enumerated for finite groups; a product adds the rates of its factors."""
        if isinstance(self.group, escnn_groups.SO3 | escnn_groups.O3):
            return float(irrep[-1])
        if self.factors:  # a factor C_2 is an inversion or a mirror, not a rotation
            rotating = [(f, i) for f, i in zip(self.factors, irrep[:2], strict=True) if f.group.order() != 2]
            return sum(factor.rate(part) for factor, part in rotating)
        psi, rotations = self.irrep(irrep), [g for g in self.group.elements if g != self.group.identity]
        return max(float(np.linalg.norm(psi(g) - np.eye(psi.size), 2)) / _angle(g) for g in rotations)

    @property
    def circles(self) -> tuple[Circle, ...]:
        """The Euler angles of SO(3) and O(3); the circles of both factors of a product."""
        if isinstance(self.group, escnn_groups.SO3):
            return _EULER_CIRCLES
        if isinstance(self.group, escnn_groups.O3):
            return tuple(_proper(self.group, circle) for circle in _EULER_CIRCLES)
        if not self.factors:
            return ()
        pair, (first, second) = self.group.pair_elements, self.factors
        return (
            *(_lift(circle, lambda g: pair(g, second.group.identity)) for circle in first.circles),
            *(_lift(circle, lambda g: pair(first.group.identity, g)) for circle in second.circles),
        )

    @property
    def cosets(self) -> tuple[GroupElement, ...]:
        """The identity, and the inversion of O(3); the pairs of both factors' cosets of a product."""
        if self.factors:
            first, second = self.factors
            return tuple(self.group.pair_elements(*pair) for pair in product(first.cosets, second.cosets))
        if isinstance(self.group, escnn_groups.O3):
            return self.group.identity, self.group.inversion
        return tuple(self.group.elements or [self.group.identity])

    def _product(self, left: IrrepId, right: IrrepId) -> Splitting:
        if isinstance(self.group, escnn_groups.SO3 | escnn_groups.O3):  # the inversion is a sign on every irrep
            return tuple(
                (irrep, clebsch_gordan(left[-1], right[-1], irrep[-1])) for irrep in self.candidates(left, right)
            )
        psi, phi = self.irrep(left), self.irrep(right)
        elements = dense_elements(self.group)
        rho: list[NDArray[np.float64]] = [np.kron(psi(g), phi(g)) for g in elements]
        splitting = [
            (candidate, copy)
            for candidate in self.candidates(left, right)
            for copy in intertwiners(rho, [self.irrep(candidate)(g) for g in elements])
        ]
        found = sum(a.shape[1] for _, a in splitting)
        assert found == psi.size * phi.size, f"{left} x {right} of {self.group}: {found} of {psi.size * phi.size}"
        return tuple(splitting)

    def candidates(self, left: IrrepId, right: IrrepId) -> list[IrrepId]:
        """The irreps that can occur in a product."""
        if isinstance(self.group, escnn_groups.SO3):
            return [(j,) for j in range(abs(left[0] - right[0]), left[0] + right[0] + 1)]
        if isinstance(self.group, escnn_groups.O3):
            return [(left[0] ^ right[0], j) for j in range(abs(left[1] - right[1]), left[1] + right[1] + 1)]
        if self.factors:
            splits = (factor.product(left[i], right[i]) for i, factor in enumerate(self.factors))
            pairs = product(*(dict.fromkeys(irrep for irrep, _ in split) for split in splits))
            return [(first, second, part) for first, second in pairs for part in range(self.parts(first, second))]
        return [psi.id for psi in self.group.irreps()]

    def parts(self, first: IrrepId, second: IrrepId) -> int:
        """How many irreps the outer product of two irreps splits into: two where both are of complex type."""
        sizes = [factor.size(irrep) for factor, irrep in zip(self.factors, (first, second), strict=True)]
        return sizes[0] * sizes[1] // int(self.irrep((first, second, 0)).size)

    def _violation(self, irrep: IrrepId) -> float:
        """SO(3): sqrt(l (l + 1)), the Casimir; an inversion adds 4; a product adds squares over its factors."""
        if isinstance(self.group, escnn_groups.SO3):
            return math.sqrt(irrep[0] * (irrep[0] + 1))
        if isinstance(self.group, escnn_groups.O3):
            return math.sqrt(irrep[1] * (irrep[1] + 1) + 4 * irrep[0])
        if self.factors:
            return math.hypot(*(_factor_violation(f, i) for f, i in zip(self.factors, irrep[:2], strict=True)))
        psi = self.irrep(irrep)
        squares = [(_order(g) / (2 * math.pi)) ** 2 * _excursion(psi(g)) for g in self.group.generators]
        total = math.sqrt(sum(squares))
        return total if total > 1e-12 else 0.0


def dense_elements(group: Group) -> list[GroupElement]:
    """Elements that generate the group, or a dense subgroup of a Lie group."""
    if isinstance(group, escnn_groups.SO2):
        return [group.element(1.0, "radians")]
    if isinstance(group, escnn_groups.O2):
        return [group.element((0, 1.0), "radians"), group.element((1, 0.0), "radians")]
    if isinstance(group, escnn_groups.SO3):  # rotations by one radian about x and z: irrational multiples of pi
        return [group.element(np.array(axis), "EV") for axis in ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0])]
    if isinstance(group, escnn_groups.O3):
        rotations = dense_elements(escnn_groups.so3_group())
        return [group.element((0, g.to("Q")), "Q") for g in rotations] + [group.inversion]
    if isinstance(group, DirectProductGroup):
        first, second = group.G1, group.G2
        return [group.pair_elements(g, second.identity) for g in dense_elements(first)] + [
            group.pair_elements(first.identity, g) for g in dense_elements(second)
        ]
    return list(group.generators) or [group.identity]


def _factor_violation(factor: FibreGroup, irrep: IrrepId) -> float:
    """As the factor has it, but the C_2 of a direct product is an inversion or a mirror, not a half turn."""
    if isinstance(factor, PlanarGroup) and not factor.flips and factor.rotations == 2:
        return 2.0 * irrep[0]
    return factor.violation(irrep)


def _excursion(matrix: NDArray[np.float64]) -> float:
    """Mean square ||M - I||_F^2 / d of an orthogonal matrix."""
    d = matrix.shape[0]
    return float(np.linalg.norm(matrix - np.eye(d)) ** 2) / d


def _turn(axis: tuple[float, float, float]) -> Circle:
    group = escnn_groups.so3_group()
    return lambda t: group.element(t * np.array(axis), "EV")


_EULER_CIRCLES = _turn((0.0, 0.0, 1.0)), _turn((0.0, 1.0, 0.0)), _turn((0.0, 0.0, 1.0))


def _proper(group: Group, circle: Circle) -> Circle:
    """A circle of rotations in O(3)."""
    return lambda t: group.element((0, circle(t).to("Q")), "Q")


def _lift(circle: Circle, embed: Callable[[GroupElement], GroupElement]) -> Circle:
    return lambda t: embed(circle(t))


def _angle(rotation: GroupElement) -> float:
    """Angle of a rotation of space, in (0, pi]."""
    return math.acos(max(-1.0, (float(np.trace(rotation.to("MAT"))) - 1) / 2))


def _order(element: GroupElement) -> int:
    """Smallest n > 0 with element^n = identity."""
    power, n = element, 1
    while power != element.group.identity:
        power, n = power @ element, n + 1
    return n
