"""What the rounding of a weight can do to its coefficients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from escnn_soft.dial.policies.policy import FLOOR, MARGIN

__all__ = ["Resolution"]

_STEPS = 64
"""Sums in a row whose subnormal parts are rounded, where a weight is computed in its own dtype; else one cast."""


@dataclass(frozen=True)
class Resolution:
    """How far rounding moves a weight W, in the norm of its coefficients: by relative * ||W|| + absolute at most.

    Attributes:
        relative: by the precision of the dtype.
        absolute: by its smallest number, below which there is nothing; in the scale of the weight.
        breaking: fraction of a bound that the rounding of what breaks the symmetry takes.
    """

    relative: float
    absolute: float | Tensor
    breaking: float

    @staticmethod
    def of(dtype: torch.dtype, entries: int, condition: float) -> Resolution:
        """Of weights that are stored in a dtype.

        Args:
            dtype: of the weight.
            entries: of the weight.
            condition: how much larger, relatively, a change of the weight can be in its coefficients.

        Returns:
            The resolution.
        """
        limits = torch.finfo(dtype)
        steps = 1 if torch.promote_types(dtype, torch.float32) != dtype else _STEPS
        smallest = limits.smallest_normal * limits.eps
        return Resolution(
            FLOOR * limits.eps * condition, steps * smallest * condition * math.sqrt(entries), MARGIN * limits.eps
        )
