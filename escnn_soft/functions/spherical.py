"""Spherical harmonics on the voxels, as functions of the irreps of a group of rotations and reflections of space."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from escnn.group import GroupElement, groups, o3_group
from escnn.gspaces import GSpace3D
from numpy.typing import NDArray

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.functions.harmonics import Harmonic, unit_energy
from escnn_soft.groups import CompactGroup, FibreGroup, Splitting, dense_elements, spherical_harmonics
from escnn_soft.linalg import intertwiners

__all__ = ["spherical_functions", "split_degree"]

Matrix = NDArray[np.float64]


def spherical_functions(
    gspace: GSpace3D, group: FibreGroup, points: Matrix, harmonics: Sequence[Harmonic]
) -> list[tuple[IrrepId, Matrix]]:
    """Sampled shells of spherical harmonics, each degree split into irreps of the group.

    Args:
        gspace: escnn gspace in space.
        group: its fibre group.
        points: where to sample.  # shape: (points, 3)
        harmonics: shells and degrees.

    Returns:
        Irreps and functions, each harmonic at unit mean energy.  # each: (points, d)
    """
    radius = np.linalg.norm(points, axis=1, keepdims=True)
    # at the origin the profile of all degrees but 0 is zero, so any direction will do
    directions = np.where(radius > 1e-9, points, [0.0, 0.0, 1.0]) / np.where(radius > 1e-9, radius, 1.0)
    splits = {degree: split_degree(gspace, group, degree) for degree in sorted({h.frequency for h in harmonics})}
    functions = []
    for h in harmonics:
        sampled = unit_energy(h.profile(points)[:, None] * spherical_harmonics(h.frequency, directions))
        functions += [(irrep, sampled @ a) for irrep, a in splits[h.frequency]]
    return functions


def split_degree(gspace: GSpace3D, group: FibreGroup, degree: int) -> Splitting:
    """The irreps of the gspace's group in the spherical harmonics of a degree."""
    elements = dense_elements(group.group)
    rho = [_on_harmonics(gspace, g, degree) for g in elements]
    splitting = [
        (irrep, a)
        for irrep in _candidates(group, degree)
        for a in intertwiners(rho, [np.asarray(group.irrep(irrep)(g), dtype=np.float64) for g in elements])
    ]
    found = sum(a.shape[1] for _, a in splitting)
    assert found == 2 * degree + 1, f"degree {degree} on {gspace}: {found} of {2 * degree + 1}"
    return tuple(splitting)


def _on_harmonics(gspace: GSpace3D, element: GroupElement, degree: int) -> Matrix:
    """The irrep of O(3) of the spherical harmonics, at the isometry that an element of the fibre group is."""
    o3, matrix = o3_group(), np.asarray(gspace.basespace_action(element))
    parity = round(float(np.linalg.det(matrix)))
    isometry = o3.element((int(parity < 0), parity * matrix), "MAT")
    return np.asarray(o3.irrep(degree % 2, degree)(isometry), dtype=np.float64)


def _candidates(group: FibreGroup, degree: int) -> list[IrrepId]:
    """The irreps that can occur among the spherical harmonics of a degree."""
    name, frequencies = group.group, range(degree + 1)
    if isinstance(name, groups.SO3):
        return [(degree,)]
    if isinstance(name, groups.O3):
        return [(degree % 2, degree)]
    if isinstance(name, groups.SO2):
        return [(k,) for k in frequencies]
    if isinstance(name, groups.O2):
        return [(0, 0), (1, 0), *((1, k) for k in frequencies[1:])]
    if name.continuous:
        assert isinstance(group, CompactGroup)
        pairs = product(*(_candidates(factor, degree) for factor in group.factors))
        return [(a, b, part) for a, b in pairs for part in range(group.parts(a, b))]
    return [psi.id for psi in name.irreps()]
