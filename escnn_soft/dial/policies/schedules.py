"""Schedules: softness as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from escnn_soft._checks import integer
from escnn_soft.dial.policies.graded import Graded
from escnn_soft.dial.policies.policy import Policy

__all__ = ["CosineSchedule", "LinearSchedule", "Schedule"]

Schedule = Callable[[int], float | Policy]
"""What :class:`escnn_soft.SoftnessScheduler` takes: any function from the step to a softness."""


@dataclass(frozen=True)
class LinearSchedule:
    """From one softness to another in equal steps, then constant.

    Args:
        start: at step 0.
        stop: from step ``steps`` on.
        steps: how long it takes.
        policy: what the values stand for: ``Graded``, ``Exponential``, ``Cutoff``, ``Budget`` or any function to a
            policy.

    Raises:
        SoftnessError: if ``start`` or ``stop`` is not in the policy's domain.
        ArgumentError: if ``steps`` is not a positive integer.

    Example:
        >>> from escnn_soft import Budget
        >>> LinearSchedule(0.5, 0.1, steps=4, policy=Budget)(2)
        Budget(eta=0.3)
    """

    start: float
    stop: float
    steps: int
    policy: Callable[[float], Policy] = Graded

    def __post_init__(self) -> None:
        """Check both ends and the number of steps."""
        integer("steps", self.steps, minimum=1)
        for end in (self.start, self.stop):
            self.policy(end)

    def __call__(self, step: int) -> Policy:
        """The policy at a step, counted from 0."""
        return self.policy(self.start + (self.stop - self.start) * self._progress(min(step / self.steps, 1.0)))

    def _progress(self, share: float) -> float:
        return share


class CosineSchedule(LinearSchedule):
    """As :class:`LinearSchedule`, along half a cosine: slow at both ends."""

    def _progress(self, share: float) -> float:
        return (1 - math.cos(math.pi * share)) / 2
