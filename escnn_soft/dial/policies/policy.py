"""What a softness is: a rule from a level's place on the dial to its gain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

__all__ = ["DIAL_TOLERANCE", "Policy"]

DIAL_TOLERANCE = 1e-9
"""Distance on the dial, in units of the violation, within which two places count as equal."""


class Policy(ABC):
    """A rule that gives each level of a weight spectrum a gain in [0, 1].

    Gains depend on a level's place on the dial alone, so no policy can split a level. A policy is a frozen value:
    equal policies have equal hashes. Writing :meth:`gains` is all that a new one needs.

    Attributes:
        learned: whether the gains outside the equivariant level are parameters, which begin as :meth:`gains` says.
        bounded: whether one more factor depends on the weights' own certified error: see :meth:`Budget.factor`.
    """

    learned: ClassVar[bool] = False
    bounded: ClassVar[bool] = False

    @abstractmethod
    def gains(self, dial: Tensor) -> Tensor:
        """Gain of each level.

        Args:
            dial: place of each level: 0 for the equivariant one, its violation sigma for the others within the band
                limit, and more than any of those for the remainder.  # shape: (levels,)

        Returns:
            Factors in [0, 1], 1 where the dial is 0.  # shape: (levels,)
        """
