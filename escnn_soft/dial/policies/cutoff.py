"""Gains that keep every level up to a violation and drop the others."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from escnn_soft._checks import number
from escnn_soft.dial.policies.policy import DIAL_TOLERANCE, Policy
from escnn_soft.errors import SoftnessError

__all__ = ["Cutoff"]


@dataclass(frozen=True)
class Cutoff(Policy):
    r"""gain = 1 if sigma <= bound else 0.

    For SO(2) the violation is the frequency, so ``Cutoff(2)`` keeps exactly the frequencies 0, 1 and 2. The remainder
    lies beyond every harmonic level on the dial; ``Cutoff(math.inf)`` keeps it too. A rotation by at most theta moves
    a kernel that is kept by ``Cutoff(b)`` by at most theta * b times its norm.

    Source: Rahman et al., arXiv 2603.26657, keep a *count* of singular directions; a bound on the violation never
    splits a degenerate level.

    Args:
        bound: largest violation that is kept, in [0, inf].

    Raises:
        SoftnessError: if the bound is not a non-negative number.

    Example:
        >>> import torch
        >>> Cutoff(1.0).gains(torch.tensor([0.0, 1.0, 2.0]))
        tensor([1., 1., 0.])
    """

    bound: float

    def __post_init__(self) -> None:
        """Check the bound and store it as a float."""
        remedy = "Pass the largest violation to keep: 0 keeps the equivariant level alone, math.inf keeps everything."
        value = number("bound", self.bound, minimum=0.0, maximum=math.inf, error=SoftnessError, remedy=remedy)
        object.__setattr__(self, "bound", value)

    def gains(self, dial: Tensor) -> Tensor:
        """1 up to the bound, 0 beyond."""
        return (dial <= self.bound + DIAL_TOLERANCE).to(dial.dtype)
