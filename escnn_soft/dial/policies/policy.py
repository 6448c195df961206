"""What a softness is: a rule from a level's place on the dial to its gain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

__all__ = ["DIAL_TOLERANCE", "FLOOR", "MARGIN", "Place", "Policy", "allowed_share"]

DIAL_TOLERANCE = 1e-9
"""Distance on the dial, in units of the violation, within which two places count as equal."""

MARGIN = 32
"""Fraction of a bound, in units of the layer's eps, that the rounding of what breaks the symmetry takes."""

FLOOR = 4
"""Relative error, in units of the layer's eps and the basis's condition, that the rounding of the kernel makes."""

_VANISHING = 1e-30
"""Squared ratio of allowed to given norm below which nothing is allowed: it is about to underflow."""


class Place(Protocol):
    """What a policy asks of a level."""

    @property
    def dial(self) -> float:
        """Its place on the dial."""

    @property
    def exponent(self) -> float:
        """Power of a softness that limits it; 0 if it breaks nothing."""

    @property
    def symmetric(self) -> bool:
        """Whether it breaks nothing."""


class Policy(ABC):
    """A rule that gives each level of a weight spectrum a gain in [0, 1].

    Gains depend on a level's place on the dial alone, so no policy can split a level. A policy is a frozen value:
    equal policies have equal hashes. Writing :meth:`gains` is all that a new one needs.

    Attributes:
        learned: whether the gains outside the equivariant level are parameters, which begin as :meth:`gains` says.
        bounded: whether one more factor depends on the weights' own certified error: see :meth:`Budget.factor`.
        balanced: whether one more factor depends on the norms of the weights in the levels: of :class:`Graded` alone.
    """

    learned: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    balanced: ClassVar[bool] = False

    @abstractmethod
    def gains(self, dial: Tensor) -> Tensor:
        """Gain of each level.

        Args:
            dial: place of each level: 0 for the equivariant one, its violation sigma for the others within the band
                limit, and more than any of those for the remainder.  # shape: (levels,)

        Returns:
            Factors in [0, 1], 1 where the dial is 0.  # shape: (levels,)
        """

    def error_bound(self, levels: Sequence[Place], moves: Sequence[float]) -> float:
        """Largest relative error e(g) / ||W|| of any weight that the policy lets through, known before any weight is.

        Args:
            levels: of the weight.
            moves: how far one element, or any of the group, moves a unit vector of each level: ||psi(g) - I||, and 2
                at most.

        Returns:
            The bound; for policies whose gains bound nothing, the largest move of a level that they open.
        """
        gains = self.gains(torch.tensor([level.dial for level in levels], dtype=torch.float64)).tolist()
        return max((move for move, gain in zip(moves, gains, strict=True) if gain > 0), default=0.0)


def allowed_share(allowed: Tensor, given: Tensor) -> Tensor:
    """min(1, sqrt(allowed / given)), differentiably, and 0 where nothing is allowed.

    Args:
        allowed: a squared norm.  # shape: ()
        given: another, or less than 0.  # shape: ()

    Returns:
        The factor.  # shape: ()
    """
    squared = allowed / torch.where(given <= allowed, allowed, given).clamp(min=torch.finfo(allowed.dtype).tiny)
    some = squared > _VANISHING  # sqrt has no derivative at 0
    return torch.where(some, torch.where(some, squared, 1.0).sqrt(), 0.0)
