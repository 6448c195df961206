"""Functions of a norm without a constant on the whole space: vectors made unit ones, and variances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from escnn.nn import FieldType
from torch import Tensor

from escnn_soft.certification.rules.gated import largest
from escnn_soft.certification.rules.rule import Bound, Call, Rule
from escnn_soft.certification.tensor_action import Action

__all__ = ["Normalized", "Variance"]


class Normalized(Rule):
    """x -> x / max(|x|, eps) along a dimension.

    Away from 0, |x / |x| - y / |y|| <= 2 |x - y| / (|x| + |y|), and |y| >= |x| - reach. In any case the constant is at
    most 1 / eps, as it is the projection onto a ball, scaled.
    """

    ulps = 16.0
    local = True

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """From the weakest vector of this input."""
        norms = call.x.detach().double().cpu().norm(dim=call.module.axis).reshape(len(call.x), -1)
        weakest, eps = norms.amin(dim=1), float(call.module.eps)
        constant = 2 / (weakest + (weakest - reach).clamp(min=0.0))
        steepest = 1 / eps if eps > 0 else math.inf
        return (torch.where(weakest < eps, steepest, constant.clamp(max=steepest)),)

    def no_constant(self, call: Call) -> str:
        """A vector that vanishes."""
        return "a vector is zero, and its direction jumps there"

    def refusal(self, call: Call, row: int) -> str | None:
        """The channels of a pixel are turned together; any other dimension has to stay as it is."""
        if call.module.axis == 1 or call.action.is_identity(row):
            return None
        return "it normalises along a dimension that the element moves"


class Variance(Rule):
    """|P x|^2 / n with P the projection along constants: ||P x|^2 - |P y|^2| <= (2 |P x| + |y - x|) |y - x|.

    Args:
        axes: dimensions that are reduced.
        correction: subtracted from their number.
        action: of the group on what is left.
    """

    local = True

    def __init__(self, axes: Sequence[int], correction: float, action: Action) -> None:
        self.axes, self.correction, self.action = list(axes), correction, action

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """From the largest deviation of this input."""
        x = call.x.detach().double().cpu()
        spread = (x - x.mean(self.axes, keepdim=True)).norm(dim=self.axes)
        left = self._count(call) - self.correction
        return ((2 * largest(spread[:, None]) + reach) / left if left > 0 else math.inf,)

    def no_constant(self, call: Call) -> str:
        """Inputs far away."""
        return "a variance has no Lipschitz constant on the whole space, and the error of its input is not bounded"

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """Two sums over what is reduced."""
        unit = torch.finfo(min((call.x.dtype, call.output.dtype), key=lambda d: torch.finfo(d).bits)).eps / 2
        left = max(self._count(call) - self.correction, 1.0)
        return (4.0 * self._count(call) + 64.0) * unit * norms.square() / left

    def out_action(self, call: Call, out_type: FieldType | None) -> Action:
        """As after any reduction."""
        return self.action

    def _count(self, call: Call) -> int:
        return math.prod(call.x.shape[axis] for axis in self.axes)
