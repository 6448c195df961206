"""How far a group moves unit vectors of a level."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch

from escnn_soft._checks import number
from escnn_soft.dial.dial import Dial
from escnn_soft.errors import ArgumentError
from escnn_soft.grading import Level, SpectralGrading, SubgroupChain
from escnn_soft.groups import FibreGroup
from escnn_soft.linalg import spectral_norm

__all__ = ["largest_error"]

_LAWLESS = 2.0
"""An orthogonal action moves a unit vector by at most this."""


def largest_error(dial: Dial, element: Any, chain: SubgroupChain | None = None) -> float:
    """Largest e(g) / ||W|| that a dial allows.

    Args:
        dial: on a weight on which a group acts by orthogonal matrices.
        element: an element; an angle in radians, for all rotations by at most that; None for all elements.
        chain: subgroups by which the dial is graded: what one keeps, its elements do not move.

    Returns:
        The bound.

    Raises:
        ArgumentError: if it is neither, or if nothing but the bound over all elements is known.
    """
    graded = dial.graded
    group = graded.transform.group if isinstance(graded, SpectralGrading) else None

    def farthest(level: Level) -> float:
        if isinstance(group, FibreGroup) and level.irrep_id is not None:
            return group.excursion(level.irrep_id)
        return _LAWLESS

    if element is None:
        return dial.bound(farthest)
    if not isinstance(group, FibreGroup):
        remedy = "Ask for the bound over all elements: bound()."
        raise ArgumentError("element", element, "None, for levels that no group of escnn grades", remedy)
    if isinstance(element, Real):
        return _within(dial, group, float(element), dial.bound(farthest))
    group.check(element)
    if group.is_identity(element):
        return 0.0

    def moved(level: Level) -> float:
        if chain is not None and chain.keeps(level.stage, element):
            return 0.0
        if level.irrep_id is None:
            return _LAWLESS
        psi = group.matrix(level.irrep_id, element)
        return float(spectral_norm((psi - torch.eye(len(psi)))[None])[0])

    return dial.bound(moved)


def _within(dial: Dial, group: FibreGroup, angle: float, supremum: float) -> float:
    remedy = "Pass an angle in radians."
    theta = number("angle", angle, minimum=0.0, maximum=math.pi, error=ArgumentError, remedy=remedy)
    if theta == 0.0:
        return 0.0
    rates = dial.bound(lambda level: _LAWLESS if level.irrep_id is None else theta * group.rate(level.irrep_id))
    return min(rates, supremum)
