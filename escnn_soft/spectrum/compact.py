"""Every other group of escnn: SO(3), O(3), the polyhedral groups and direct products, by joint null spaces."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from escnn.group import DirectProductGroup, Group, GroupElement
from escnn.group import groups as escnn_groups
from numpy.typing import NDArray

from escnn_soft.linalg import intertwiners
from escnn_soft.spectrum.fibregroup import FibreGroup, IrrepId, Splitting
from escnn_soft.spectrum.planar import PlanarGroup

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

    def _product(self, left: IrrepId, right: IrrepId) -> Splitting:
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
            return [(first, second, part) for first, second in pairs for part in range(self._parts(first, second))]
        return [psi.id for psi in self.group.irreps()]

    def _parts(self, first: IrrepId, second: IrrepId) -> int:
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


def _order(element: GroupElement) -> int:
    """Smallest n > 0 with element^n = identity."""
    power, n = element, 1
    while power != element.group.identity:
        power, n = power @ element, n + 1
    return n
