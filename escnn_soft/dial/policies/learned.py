"""Gains that are learned, one a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from escnn_soft._checks import number
from escnn_soft.dial.policies.policy import Policy
from escnn_soft.errors import SoftnessError

__all__ = ["Learned"]


@dataclass(frozen=True)
class Learned(Policy):
    r"""gain_lambda = sigmoid(a_lambda), with one parameter a_lambda a level that is trained with the weights.

    The layer gets a parameter ``level_logits``, the levels of the kernel first and then those of the bias; it is part
    of the ``state_dict``. Set the policy before the optimiser is built. Decaying the logits towards -inf, or
    penalising the gains, closes the levels that the data do not need.

    Args:
        initial: gain of every level at first, in (0, 1).

    Raises:
        SoftnessError: if the initial gain is not a number strictly between 0 and 1.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(space.regular_repr)
        >>> layer = SoftR2Conv(field, field, kernel_size=3, bias=False, softness=Learned(0.5))
        >>> layer.level_logits.sigmoid()
        tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000], grad_fn=<SigmoidBackward0>)
    """

    learned: ClassVar[bool] = True
    initial: float = 0.5

    def __post_init__(self) -> None:
        """Check the initial gain and store it as a float."""
        remedy = "Pass the gain that every level starts with, e.g. 0.5; sigmoid never reaches 0 or 1."
        value = number("initial", self.initial, minimum=0.0, maximum=1.0, error=SoftnessError, remedy=remedy)
        if value in (0.0, 1.0):
            raise SoftnessError("initial", self.initial, "a number strictly between 0 and 1", remedy)
        object.__setattr__(self, "initial", value)

    def gains(self, dial: Tensor) -> Tensor:
        """The gains at first."""
        return torch.where(dial == 0, torch.ones_like(dial), torch.full_like(dial, self.initial))
