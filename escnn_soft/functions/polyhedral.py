"""Gaussians at the vertices of a polyhedron: the functions of escnn's icosahedral kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from escnn.gspaces import GSpace3D
from numpy.typing import NDArray

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.functions.harmonics import unit_energy
from escnn_soft.groups import FibreGroup, dense_elements
from escnn_soft.linalg import intertwiners

__all__ = ["VertexShell", "polyhedral_functions"]

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class VertexShell:
    """Gaussians exp(-|x - v|^2 / (2 width^2)) at an orbit of points v, combined into all copies of one irrep.

    The orbit of the icosahedral group has 12, 20 or 30 points, those that rotations of order 5, 3 or 2 leave fixed: the
    vertices of the icosahedron, the dodecahedron and the icosidodecahedron. At radius 0 it is the origin alone.
    """

    radius: float
    width: float
    order: int
    irrep: IrrepId


def polyhedral_functions(
    gspace: GSpace3D, group: FibreGroup, points: Matrix, shells: Sequence[VertexShell]
) -> list[tuple[IrrepId, Matrix]]:
    """Sampled Gaussians at the vertices of polyhedra, each orbit split into irreps of the icosahedral group.

    Args:
        gspace: escnn's icosahedral gspace.
        group: its fibre group.
        points: where to sample.  # shape: (points, 3)
        shells: orbits and irreps.

    Returns:
        Irreps and functions, each at unit mean energy.  # each: (points, d)
    """
    functions = []
    for shell in shells:
        vertices, splitting = _orbit(gspace, group, shell.order if shell.radius > 0 else 1)
        distances = np.linalg.norm(points[:, None] - shell.radius * vertices, axis=2)
        sampled = np.exp(-0.5 * (distances / shell.width) ** 2)
        functions += [(irrep, unit_energy(sampled @ a)) for irrep, a in splitting if irrep == shell.irrep]
    return functions


@cache
def _orbit(gspace: GSpace3D, group: FibreGroup, order: int) -> tuple[Matrix, tuple[tuple[IrrepId, Matrix], ...]]:
    """The unit vectors that rotations of an order leave fixed, and the irreps of their permutation representation."""
    vertices = np.zeros((1, 3)) if order == 1 else _fixed_directions(gspace, order)
    elements = dense_elements(group.group)
    permutations = []
    for g in elements:
        moved = vertices @ np.asarray(gspace.basespace_action(g)).T  # row v is the image of vertex v
        nearest = np.linalg.norm(moved[:, None] - vertices, axis=2)
        permutations.append((nearest < 1e-6).astype(float).T)
    splitting = tuple(
        (psi.id, a)
        for psi in group.group.irreps()
        for a in intertwiners(permutations, [np.asarray(psi(g), dtype=np.float64) for g in elements])
    )
    assert sum(a.shape[1] for _, a in splitting) == len(vertices)
    return vertices, splitting


def _fixed_directions(gspace: GSpace3D, order: int) -> Matrix:
    """Axes of the rotations of an order, in both directions, in lexicographic order."""
    directions: dict[tuple[float, ...], Matrix] = {}
    for g in gspace.fibergroup.elements:
        matrix = np.asarray(gspace.basespace_action(g), dtype=np.float64)
        power, n = matrix, 1
        while np.abs(power - np.eye(3)).max() > 1e-9:
            power, n = power @ matrix, n + 1
        if n == order:
            # the mean of all powers projects onto the axis
            mean = np.mean([np.linalg.matrix_power(matrix, i) for i in range(n)], axis=0)
            axis = mean[:, np.argmax(np.diag(mean))] / np.sqrt(np.diag(mean).max())
            for direction in (axis, -axis):
                directions.setdefault(tuple(np.round(direction, 6) + 0.0), direction)
    return np.stack([directions[key] for key in sorted(directions)])
