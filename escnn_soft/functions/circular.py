"""Circular harmonics on the pixels, as functions of the irreps of a planar group."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from escnn.group import GroupElement
from escnn.gspaces import GSpace2D
from numpy.typing import NDArray

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.functions.harmonics import Harmonic, unit_energy
from escnn_soft.groups import PlanarGroup, Splitting

__all__ = ["circular_functions", "mirror_axis", "split_frequency"]

Matrix = NDArray[np.float64]


def circular_functions(
    gspace: GSpace2D, group: PlanarGroup, points: Matrix, harmonics: Sequence[Harmonic]
) -> list[tuple[IrrepId, Matrix]]:
    """Sampled rings of circular harmonics, each pair folded into irreps of the group.

    Args:
        gspace: escnn gspace on the plane.
        group: its fibre group.
        points: where to sample.  # shape: (points, 2)
        harmonics: rings and frequencies.

    Returns:
        Irreps and functions, each harmonic at unit mean energy.  # each: (points, 1 or 2)
    """
    axis = mirror_axis(gspace, group)
    functions = []
    for h in harmonics:
        sampled = unit_energy(_sampled(h, points, axis))
        functions += [(irrep, sampled @ a) for irrep, a in split_frequency(group, h.frequency)]
    return functions


def split_frequency(group: PlanarGroup, frequency: int) -> Splitting:
    """The irreps in the pair (cos, sin) of a frequency; in the constant for frequency 0."""
    return group.fold(frequency) if frequency else ((group.trivial, np.ones((1, 1))),)


def _sampled(harmonic: Harmonic, points: Matrix, axis: float) -> Matrix:
    """The pair (cos, sin) of a harmonic, angles measured from an axis; a single column for frequency 0."""
    profile = harmonic.profile(points)
    if harmonic.frequency == 0:
        return profile[:, None]
    angle = harmonic.frequency * (np.arctan2(points[:, 1], points[:, 0]) - axis)
    return np.stack([profile * np.cos(angle), profile * np.sin(angle)], axis=1)


def mirror_axis(gspace: GSpace2D, group: PlanarGroup) -> float:
    """Angle of the mirror line of the group's first reflection, from which even and odd harmonics are counted."""
    if not group.flips:
        return 0.0
    mirror = gspace.basespace_action(_reflection(group))
    return math.atan2(mirror[1, 0], mirror[0, 0]) / 2  # a mirror line at angle a is R(2 a) diag(1, -1)


def _reflection(group: PlanarGroup) -> GroupElement:
    """The reflection that is diag(1, -1) in every two-dimensional irrep."""
    if group.rotations is None:
        return group.group.element((1, 0.0), "radians")
    return group.group.generators[-1]
