"""Gains that decay exponentially with the violation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from escnn_soft._checks import number
from escnn_soft.dial.policies.policy import Policy
from escnn_soft.errors import SoftnessError

__all__ = ["Exponential"]


@dataclass(frozen=True)
class Exponential(Policy):
    r"""gain = softness^sigma = exp(-sigma log(1 / softness)).

    Continuous and non-decreasing in the softness; 0 for every sigma > 0 at softness 0 (escnn's own layer), 1 for every
    sigma at softness 1 (an unconstrained layer). At softness s a level of frequency 1 keeps the fraction s, one of
    frequency 2 the fraction s^2.

    Source: Rahman et al., arXiv 2603.26657, damp the singular directions of the constraint by exp(-sigma / s); this
    form has the same shape and reaches both ends of the dial without a jump.

    Args:
        softness: s in [0, 1].

    Raises:
        SoftnessError: if the softness is not a number in [0, 1].

    Example:
        >>> import torch
        >>> Exponential(0.5).gains(torch.tensor([0.0, 1.0, 2.0]))
        tensor([1.0000, 0.5000, 0.2500])
        >>> Exponential(0.0).gains(torch.tensor([0.0, 1.0, 2.0]))
        tensor([1., 0., 0.])
    """

    softness: float

    def __post_init__(self) -> None:
        """Check the softness and store it as a float."""
        remedy = "Pass 0 for an exactly equivariant layer, 1 for an unconstrained one, or something in between."
        value = number("softness", self.softness, minimum=0.0, maximum=1.0, error=SoftnessError, remedy=remedy)
        object.__setattr__(self, "softness", value)

    def gains(self, dial: Tensor) -> Tensor:
        """softness ** dial, with 0 ** 0 = 1."""
        return self.softness**dial
