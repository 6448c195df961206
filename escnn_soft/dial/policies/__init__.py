"""Softness: rules that turn the dial, from exactly equivariant to unconstrained."""

from __future__ import annotations

from numbers import Real

from escnn_soft.dial.policies.budget import Budget
from escnn_soft.dial.policies.cutoff import Cutoff
from escnn_soft.dial.policies.exponential import Exponential
from escnn_soft.dial.policies.graded import Graded
from escnn_soft.dial.policies.learned import Learned
from escnn_soft.dial.policies.policy import DIAL_TOLERANCE, Policy
from escnn_soft.dial.policies.schedules import CosineSchedule, LinearSchedule, Schedule
from escnn_soft.errors import SoftnessError

__all__ = [
    "DIAL_TOLERANCE",
    "Budget",
    "CosineSchedule",
    "Cutoff",
    "Exponential",
    "Graded",
    "Learned",
    "LinearSchedule",
    "Policy",
    "Schedule",
    "as_policy",
    "as_softness",
]


def as_policy(softness: object) -> Policy:
    """The policy that a softness stands for: a plain number s means ``Graded(s)``.

    Args:
        softness: a number in [0, 1] or a policy.

    Returns:
        The policy.

    Raises:
        SoftnessError: if it is neither.

    Example:
        >>> as_policy(0.5)
        Graded(softness=0.5)
    """
    if isinstance(softness, Policy):
        return softness
    if isinstance(softness, Real) and not isinstance(softness, bool):
        return Graded(float(softness))
    raise SoftnessError(
        "softness",
        softness,
        "a number in [0, 1] or a policy",
        "Pass a float, Graded(s), Exponential(s), Cutoff(bound), Budget(eta) or Learned().",
    )


def as_softness(policy: Policy) -> float | Policy:
    """What a policy is called where a softness is given: a plain number for ``Graded``, else the policy itself.

    Args:
        policy: the policy.

    Returns:
        A softness that :func:`as_policy` turns into the policy.
    """
    return policy.softness if isinstance(policy, Graded) else policy
