"""The group element at which an error is largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from escnn.group import GroupElement
from scipy.optimize import minimize

from escnn_soft.groups import FibreGroup

__all__ = ["worst_element"]

_CLIMBED = 3
"""Of each coset so many points are climbed from."""


def worst_element(
    error: Callable[[GroupElement], float], group: FibreGroup, *, starts: int = 200, climbs: int = 150, seed: int = 0
) -> tuple[GroupElement, float]:
    """The largest error found over a group: all of a finite one; else random starts, the best ones climbed.

    Args:
        error: of an element.
        group: the group.
        starts: points on each coset of an infinite group.
        climbs: simplex steps from each of the best of them.
        seed: of the starts.

    Returns:
        The element and its error.
    """
    if not group.circles:
        return max(((g, error(g)) for g in group.cosets), key=lambda found: found[1])
    rng = np.random.default_rng(seed)
    best = group.group.identity, error(group.group.identity)
    for coset in group.cosets:

        def at(angles: Sequence[float], coset: GroupElement = coset) -> GroupElement:
            for circle, angle in zip(group.circles, angles, strict=True):
                coset = coset @ circle(float(angle))
            return coset

        def fall(angles: Sequence[float], at: Callable[..., GroupElement] = at) -> float:
            return -error(at(angles))

        points = rng.uniform(0, 2 * math.pi, (starts, len(group.circles)))
        values = [fall(angles) for angles in points]
        for i in np.argsort(values)[:_CLIMBED]:
            climbed = minimize(fall, points[i], method="Nelder-Mead", options={"maxiter": climbs})
            if -climbed.fun > best[1]:
                best = at(climbed.x), -float(climbed.fun)
    return best
