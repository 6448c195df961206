"""An error budget: everything may be learned, as long as the certified error stays within a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from escnn_soft._checks import number
from escnn_soft.dial.policies.policy import Place, Policy, allowed_share
from escnn_soft.dial.policies.resolution import Resolution
from escnn_soft.errors import SoftnessError

__all__ = ["Budget"]


@dataclass(frozen=True)
class Budget(Policy):
    r"""Every level is open, and one factor t <= 1 keeps the certified relative error of the layer within eta.

        t = min(1, eta E / sqrt(S^2 - eta^2 P^2)),     so that     sup_g e(g) / ||W|| <= eta

    with E the norm of the weights that break nothing, P that of the others and S their certified supremum. It holds
    at every step of training, because t is computed from the weights at each forward pass, differentiably; kernel and
    bias keep the budget separately.

    Where the group does not act on the pixels the error is that of the continuous kernel, the remainder beyond the band
    limit counted with its worst; see :class:`escnn_soft.Certificate`. A kernel in floating point is equivariant to a
    few eps only, 5e-7 in single precision and 0.03 in bfloat16: a budget below that makes the layer strict, and
    ``layer.bound()`` says how strict that is. Where the whole kernel is so small that the smallest numbers of the dtype
    are too coarse for the budget, as below about 1e-6 in float16, the kernel is 0; gradients pass as if it were not.

    What an escnn kernel breaks by itself, because its rings miss pixels that are far apart, is among what t multiplies.

    Args:
        eta: largest relative error, in [0, 2]: 0 is escnn's layer, and no weights do worse than 2.

    Raises:
        SoftnessError: if eta is not a number in [0, 2].

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(space.regular_repr)
        >>> layer = SoftR2Conv(field, field, kernel_size=3, softness=Budget(0.1))
        >>> _ = torch.nn.init.normal_(layer.soft_weights)
        >>> round(layer.certificate().relative.sup, 4)
        0.1
    """

    bounded: ClassVar[bool] = True
    eta: float

    def __post_init__(self) -> None:
        """Check eta and store it as a float."""
        remedy = "Pass the largest relative error the layer may make, e.g. 0.1."
        value = number("eta", self.eta, minimum=0.0, maximum=2.0, error=SoftnessError, remedy=remedy)
        object.__setattr__(self, "eta", value)

    def gains(self, dial: Tensor) -> Tensor:
        """1 everywhere; 0 beyond the equivariant level if eta is 0. :meth:`factor` does the rest."""
        return torch.ones_like(dial) if self.eta > 0 else (dial == 0).to(dial.dtype)

    def error_bound(self, levels: Sequence[Place], moves: Sequence[float]) -> float:
        """eta, or the largest move of any level if that is less."""
        return min(self.eta, super().error_bound(levels, moves))

    def factor(
        self, symmetric: Tensor, lawful: tuple[Tensor, Tensor], lawless: Tensor, resolution: Resolution
    ) -> tuple[Tensor, Tensor]:
        """The factor t of everything that breaks the symmetry, differentiably; at least in single precision.

        A kernel that is off by d has an error that is larger by 2 ||d|| at most, and a norm that is smaller by ||d||.

        Args:
            symmetric: E^2, the squared norm of the weights in the trivial irrep.  # shape: ()
            lawful: of the weights in every other irrep, the largest squared error and the squared norm.  # shapes: ()
            lawless: squared norm of a remainder on which the group has no law.  # shape: ()
            resolution: what rounding can do to the kernel.

        Returns:
            t in [0, 1], and whether the kernel is so large that the smallest numbers of its dtype can tell a kernel
            within the budget.  # shapes: (), ()
        """
        eta, resolved = self.limit(symmetric, resolution)
        return allowed_share(*self.terms(eta, symmetric, lawful, lawless)), resolved

    def limit(self, symmetric: Tensor, resolution: Resolution) -> tuple[Tensor, Tensor]:
        """The budget less what rounding takes of it, without a derivative, and whether the kernel is large enough."""
        strict = symmetric.detach().sqrt()
        lost = (2 + self.eta) * resolution.absolute
        resolved = lost <= self.eta * strict
        rounding = resolution.relative + lost / torch.where(resolved, strict, 1.0).clamp(
            min=torch.finfo(strict.dtype).tiny
        )
        return (self.eta * (1 - resolution.breaking) - rounding).clamp(min=0.0), resolved

    @staticmethod
    def terms(eta: Tensor, symmetric: Tensor, lawful: tuple[Tensor, Tensor], lawless: Tensor) -> tuple[Tensor, Tensor]:
        """eta^2 E^2 and S^2 - eta^2 P^2, whose ratio is t^2 where it is less than 1."""
        # a remainder moves by at most twice its norm
        return eta**2 * symmetric, lawful[0] + 4 * lawless - eta**2 * (lawful[1] + lawless)
