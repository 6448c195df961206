"""Clebsch-Gordan splittings and violations of every fibre group, against their definitions."""

import math

import numpy as np
import pytest
from escnn.group import GroupElement, IrreducibleRepresentation

from escnn_soft.groups import fibre_group
from tests.cases import PLANAR, POINT, planar, point, some_irreps

SPACES = [pytest.param(planar, name, id=f"plane {name}") for name in PLANAR] + [
    pytest.param(point, name, id=f"point {name}") for name in POINT
]


@pytest.mark.parametrize(("make", "name"), SPACES)
def test_products_split_into_irreps(make, name) -> None:
    space = make(name)
    graded, g = fibre_group(space), space.fibergroup
    elements = [g.sample() for _ in range(3)]
    irreps = some_irreps(g, 6)
    for left in irreps:
        for right in irreps:
            splitting = graded.product(left.id, right.id)
            basis = np.concatenate([a for _, a in splitting], axis=1)
            assert basis.shape == (left.size * right.size,) * 2
            assert np.abs(basis.T @ basis - np.eye(len(basis))).max() < 1e-12
            for e in elements:
                rho = np.kron(left(e), right(e))
                assert all(np.abs(rho @ a - a @ graded.irrep(irrep)(e)).max() < 1e-12 for irrep, a in splitting)


@pytest.mark.parametrize(("make", "name"), SPACES)
def test_only_the_trivial_irrep_has_no_violation(make, name) -> None:
    space = make(name)
    graded = fibre_group(space)
    for psi in space.fibergroup.irreps():
        assert (graded.violation(psi.id) == 0.0) == psi.is_trivial()
        assert graded.violation(psi.id) <= graded.worst_violation


def excursion(psi: IrreducibleRepresentation, element: GroupElement, scale: float) -> float:
    """Mean square of the forward difference (psi(h) - I) scale."""
    return scale**2 * float(np.sum((psi(element) - np.eye(psi.size)) ** 2)) / psi.size


@pytest.mark.parametrize("n", [2, 3, 4, 7, 8])
def test_violation_of_rotations_and_reflections_by_definition(n) -> None:
    for space, flip in ((point(f"C{n}"), False), (point(f"D{n}"), True)) if n < 8 else ((point("C8"), False),):
        graded, g = fibre_group(space), space.fibergroup
        for psi in g.irreps():
            square = excursion(psi, g.generators[0], n / (2 * math.pi))
            square += excursion(psi, g.generators[-1], 1.0) if flip else 0.0
            assert graded.violation(psi.id) == pytest.approx(math.sqrt(square), abs=1e-12)


@pytest.mark.parametrize("name", ["SO(2)", "O(2)", "SO(3)", "O(3)"])
def test_violation_of_lie_groups_by_finite_differences(name) -> None:
    space = point(name)
    graded, g, step = fibre_group(space), space.fibergroup, 1e-5
    if name == "SO(2)":
        small, reflections = [g.element(step, "radians")], []
    elif name == "O(2)":
        small, reflections = [g.element((0, step), "radians")], [g.element((1, 0.0), "radians")]
    else:
        axes = step * np.eye(3)
        small = [g.element((0, a) if name == "O(3)" else a, "EV") for a in axes]
        reflections = [g.inversion] if name == "O(3)" else []
    for psi in some_irreps(g, 6):
        square = sum(excursion(psi, e, 1 / step) for e in small) + sum(excursion(psi, e, 1.0) for e in reflections)
        assert graded.violation(psi.id) == pytest.approx(math.sqrt(square), rel=1e-6, abs=1e-6)


def test_a_mirror_violates_more_than_a_half_turn() -> None:
    assert fibre_group(planar("flip vertical")).violation((1,)) == 2.0
    assert fibre_group(planar("C2")).violation((1,)) == pytest.approx(2 / math.pi)


def test_equal_spaces_share_one_group() -> None:
    assert fibre_group(planar("C4")) is fibre_group(point("C4"))
    assert fibre_group(planar("flip vertical")) is not fibre_group(point("C2"))
