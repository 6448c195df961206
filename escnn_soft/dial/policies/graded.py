"""Softness as a set of weights with a bound known beforehand: what a plain float means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from escnn_soft._checks import number
from escnn_soft.dial.policies.policy import Place, Policy, allowed_share
from escnn_soft.errors import SoftnessError

__all__ = ["Graded"]

_OPENING = 1 / 8
"""Gain s^(1/8) of levels beyond the band limit that break nothing: 0.56 at s = 0.01 already, and 0 at 0."""

_LARGEST_EXPONENT = 700.0
"""exp of more overflows in double precision."""

_SMALLEST_LOG = -60.0
"""Logarithm of what is too little to be limited, compared with the weights."""


@dataclass(frozen=True)
class Graded(Policy):
    r"""The less a level violates the symmetry, the more of the weight may lie in it.

    A softness s stands for a set of weights, whatever an optimiser does. With W_l the part of W in level l, and sigma_l
    the level's violation,

        R_s = { W : sum over breaking levels of s^(-2 sigma_l) ||W_l||^2 <= ||W||^2 }

        e(g) / ||W||  <=  max over breaking levels of ||psi_l(g) - I|| s^sigma_l,        2 s^sigma without a law

    because e(g)^2 <= sum ||psi_l(g) - I||^2 ||W_l||^2 = sum (||psi_l(g) - I|| s^sigma_l)^2 s^(-2 sigma_l) ||W_l||^2.
    One level alone attains the bound. At s = 0 the set holds the equivariant weights, at s = 1 all, and it grows with
    s. A layer with coefficients V of its own trains

        W = W_0 + t sum_l s^sigma_l V_l,        t = min(1, E / sqrt(sum_l (1 - s^(2 sigma_l)) ||V_l||^2))

    with W_0 what breaks nothing and E its norm; each ||W_l|| rises with s at fixed V. A given dense weight is taken to

        W = W_0 + t' sum_l W_l,                 t' = min(1, E / sqrt(sum_l (s^(-2 sigma_l) - 1) ||W_l||^2))

    which leaves what is in the set as it is. What breaks nothing but lies beyond escnn's basis opens at once: with the
    gain s^(1/8) in the first form, altogether in the second. Where a layer has no part that breaks nothing (E = 0), it
    stays closed below s = 1.

    Source: the damping of directions by their violation is that of Rahman et al., arXiv 2603.26657, who damp the
    weights' coordinates, which bounds nothing once they are trained; the set and its bound are ours.

    Args:
        softness: s in [0, 1].

    Raises:
        SoftnessError: if the softness is not a number in [0, 1].

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(space.regular_repr)
        >>> layer = SoftR2Conv(field, field, kernel_size=3, softness=0.1)
        >>> _ = torch.nn.init.normal_(layer.soft_weights, std=100.0)
        >>> round(layer.bound(), 2)
        0.25
        >>> layer.certificate().relative.sup < layer.bound()
        True
    """

    balanced: ClassVar[bool] = True
    softness: float

    def __post_init__(self) -> None:
        """Check the softness and store it as a float."""
        remedy = "Pass 0 for an exactly equivariant layer, 1 for an unconstrained one, or something in between."
        value = number("softness", self.softness, minimum=0.0, maximum=1.0, error=SoftnessError, remedy=remedy)
        object.__setattr__(self, "softness", value)

    @classmethod
    def of_bound(cls, eta: float, layer: Any) -> Graded:
        """The softness at which the relative error of a layer is at most eta, for every element, rounding aside.

        Args:
            eta: in [0, 2].
            layer: what has a softness: a soft layer, or one of ``dials(model).values()``.

        Returns:
            s = (eta / 2)^(1 / sigma), with the smallest violation sigma of a breaking level of kernel and bias.

        Raises:
            SoftnessError: if eta is not a number in [0, 2], or the layer's error has no supremum.

        Example:
            >>> from escnn import gspaces
            >>> from escnn_soft import SoftR2Conv
            >>> field = gspaces.rot2dOnR2(8).type(gspaces.rot2dOnR2(8).regular_repr)
            >>> layer = SoftR2Conv(field, field, kernel_size=3)
            >>> layer.softness = Graded.of_bound(0.1, layer)
            >>> round(layer.softness, 4), round(layer.bound(), 4)
            (0.0462, 0.1)
        """
        remedy = "Pass the largest relative error the layer may make, e.g. 0.1."
        eta = number("eta", eta, minimum=0.0, maximum=2.0, error=SoftnessError, remedy=remedy)
        if math.isinf(layer.bound()):
            expected = "a layer whose error has a supremum: orthogonal representations"
            raise SoftnessError("layer", layer, expected, "Use layer.bound(length) and choose s by it.")
        breaking = (level.exponent for level in layer.levels if level.dim and not level.symmetric)
        smallest = min(breaking, default=1.0)
        return cls((eta / 2) ** (1 / smallest))

    def gains(self, dial: Tensor) -> Tensor:
        """softness ** exponent, with 0 ** 0 = 1; a factor of all that breaks the symmetry comes to it."""
        return self.softness**dial

    @property
    def opening(self) -> float:
        """Gain of levels beyond escnn's basis that break nothing, where coefficients are trained."""
        return float(self.softness**_OPENING)

    def error_bound(self, levels: Sequence[Place], moves: Sequence[float]) -> float:
        """Largest ||psi_l(g) - I|| s^sigma_l of a breaking level."""
        terms = (move * self.softness**level.exponent for level, move in zip(levels, moves, strict=True))
        return max((term for level, term in zip(levels, terms, strict=True) if not level.symmetric), default=0.0)

    # ------------------------------------------------------------------ the factor of what breaks the symmetry

    def slack(self, exponents: Tensor) -> Tensor:
        """1 - s^(2 sigma) of each breaking level, in float64."""
        if self.softness == 0:
            return torch.ones_like(exponents)
        return -torch.expm1(2 * math.log(self.softness) * exponents)

    def share(self, free: Tensor, slack: Tensor) -> Tensor:
        """t, from E^2 and the sum over breaking levels of (1 - s^(2 sigma_l)) ||V_l||^2, both of any scale."""
        return allowed_share(free, slack)

    def stretch(self, exponents: Tensor) -> Tensor:
        """Logarithm of s^(-2 sigma) of each breaking level, which itself may overflow; in float64, for s above 0."""
        return -2 * math.log(self.softness) * exponents

    @staticmethod
    def retraction(free: Tensor, energies: Tensor, stretch: Tensor, slack: Tensor) -> Tensor:
        """t', without overflow.

        Args:
            free: E^2, of any scale.  # shape: ()
            energies: ||W_l||^2 of the breaking levels, in the same scale.  # shape: (levels,)
            stretch: of these levels, from :meth:`stretch`.  # shape: (levels,)
            slack: likewise from :meth:`slack`.  # shape: (levels,)

        Returns:
            The factor in [0, 1].  # shape: ()
        """
        free, energies = free.double(), energies.double()
        some = energies > 0
        # everything is divided by the largest term
        terms = torch.where(some, stretch + torch.where(some, energies, 1.0).log(), -math.inf)
        largest = terms.detach().max() if len(terms) else free.new_zeros(())
        largest = torch.where(largest.isfinite(), largest, 0.0).clamp(min=_SMALLEST_LOG)
        weights = (stretch - largest).clamp(max=_LARGEST_EXPONENT).exp() * slack
        given = (weights * torch.where(some, energies, 0.0)).sum()
        # E^2 e^-largest may underflow where next to nothing is allowed
        return allowed_share(free * (-largest).exp(), given)
