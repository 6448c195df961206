"""Searching a claim: all of its elements, or the worst of infinitely many, and points that climb at each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from escnn_soft.groups import FibreGroup
from escnn_soft.testing.ascent import Ball, Height, climb, directions, quotients
from escnn_soft.testing.claims import Claim
from escnn_soft.testing.worst_element import worst_element

__all__ = ["Adversary", "Attempt"]

_ROUNDS = 3
"""For every element of an infinite group: the worst element for the points, then the worst points for the element."""
_STARTS, _CLIMBS = 24, 20


@dataclass(frozen=True, eq=False)
class Attempt:
    """Where some points have climbed to for one element.

    Attributes:
        element: the element.
        offsets: of the points.  # shape: (n, ...)
        tightness: the largest quotient of an error and its bound.
    """

    element: Any
    offsets: Tensor
    tightness: float


class Adversary:
    """A search that counts what it tries.

    Args:
        claim: what to search.
        steps: of each point.
        restarts: points for each sample.
        seed: of the points.
    """

    def __init__(self, claim: Claim, steps: int, restarts: int, seed: int) -> None:
        self.claim, self.seed, self.evaluations = claim, seed, 0
        self.steps = steps if claim.radius else 0
        self._climbing = steps
        self._generator = torch.Generator().manual_seed(seed)
        copies = restarts if claim.radius else 1
        self._centre = claim.centre.repeat(copies, *[1] * (claim.centre.dim() - 1))
        self.ball = Ball(self._centre, claim.radius)

    def worst(self) -> Attempt:
        """The worst of all elements."""
        group = self.claim.group
        tried = self._each() if group is None else self._alternately(group)
        return max(tried, key=lambda attempt: attempt.tightness)

    def measured(self, attempt: Attempt) -> tuple[Tensor, float, float]:
        """The worst point of an attempt, the error there and its bound."""
        points = self.ball.points(attempt.offsets)
        with torch.no_grad():
            error, bound = self.claim.error(attempt.element)(points)
        worst = int(quotients(error, bound).argmax())
        return points[worst].clone(), float(error[worst]), float(bound[worst])

    def lipschitz(self) -> float | None:
        """The largest change that was found, divided by what the Lipschitz constant allows."""
        if self.claim.lipschitz is None:
            return None
        norms = self.claim.centre.double().flatten(1).norm(dim=1)
        ball = Ball(self._centre, max(self.claim.radius, float(norms.max())) or 1.0)
        _, found = climb(self._counted(self.claim.change()), ball, self._drawn(ball), self._climbing, self._generator)
        return float(found.max())

    def _each(self) -> list[Attempt]:
        return [self._climbed(element, self._starts()) for element in self.claim.elements]

    def _alternately(self, group: FibreGroup) -> list[Attempt]:
        attempts, offsets = [], self._starts()
        for _ in range(_ROUNDS):
            largest = partial(self._largest, self.ball.points(offsets))
            element, _ = worst_element(largest, group, starts=_STARTS, climbs=_CLIMBS, seed=self.seed)
            attempts.append(self._climbed(element, offsets))
            offsets = attempts[-1].offsets
        return attempts

    def _climbed(self, element: Any, offsets: Tensor) -> Attempt:
        height = self._counted(self.claim.error(element))
        best, found = climb(height, self.ball, offsets, self.steps, self._generator)
        return Attempt(element, best, float(found.max()))

    @torch.no_grad()
    def _largest(self, points: Tensor, element: Any) -> float:
        return float(quotients(*self._counted(self.claim.error(element))(points)).max())

    def _starts(self) -> Tensor:
        """Each sample itself, where it is not zero, and random points on its sphere."""
        offsets = self._drawn(self.ball)
        samples = len(self.claim.centre)
        if bool(self.claim.centre.any()):
            offsets[:samples] = 0.0
        return self.ball.inside(offsets)

    def _drawn(self, ball: Ball) -> Tensor:
        return ball.radius * directions(ball.centre, self._generator)

    def _counted(self, height: Height) -> Height:
        def counting(y: Tensor) -> tuple[Tensor, Tensor]:
            self.evaluations += len(y)
            return height(y)

        return counting
