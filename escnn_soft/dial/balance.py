"""The factor that keeps a weight in the set of a :class:`Graded` softness."""

from __future__ import annotations

import torch
from torch import Tensor

from escnn_soft.dial.held import Held
from escnn_soft.dial.policies.graded import Graded
from escnn_soft.grading import Grading, WeightTransform

__all__ = ["CoefficientBalance", "WeightBalance", "largest"]

_NEGLIGIBLE = 1e-15
"""A part that breaks nothing counts as at least this, relative to the rest: squares of the rest must not overflow."""


class WeightBalance:
    """t of a dense weight, of any grading: t' of a given one, which leaves what is in the set as it is.

    Norms are taken of the weight divided by its largest entry, so that no square underflows: a common factor of all
    weights changes nothing.

    Args:
        graded: the levels, on the weight's device in the dtype in which it is filtered.
        exponents: of the levels, in float64.  # shape: (levels,)
        symmetric: which levels break nothing, on the weight's device.  # shape: (levels,)
        policy: the softness, neither 0 nor 1.
        held: how the weight is held.
    """

    def __init__(self, graded: Grading, exponents: Tensor, symmetric: Tensor, policy: Graded, held: Held) -> None:
        self._graded, self._policy, self._held = graded, policy, held
        self._breaking = (~symmetric).nonzero()[:, 0]  # places: a mask would make a shape depend on values
        exponents = exponents.to(symmetric.device)[self._breaking]
        self._slack, self._stretch = policy.slack(exponents), policy.stretch(exponents)

    def __call__(self, weight: Tensor, own: Tensor, beside: Tensor | None) -> Tensor:
        """The factor of all that breaks the symmetry, differentiably.

        Args:
            weight: unfiltered.
            own: what has the norm of the part that breaks nothing, after the gains.
            beside: norm of what else in the layer breaks nothing.  # shape: ()

        Returns:
            The factor in [0, 1], in float64.  # shape: ()
        """
        scale = _scale(weight, beside)
        breaking = self._graded.energies(weight * scale).double()[self._breaking]
        free = (own * scale).double().square().sum()
        if beside is not None:
            free = free + (beside.double() * scale.double()).square()
        if self._held is Held.GIVEN:
            return self._policy.retraction(free, breaking, self._stretch, self._slack)
        return self._policy.share(free, (self._slack * breaking).sum())


class CoefficientBalance:
    """t of a weight that is given by coefficients, before their gains.

    Norms are taken of everything divided by the largest entry of the part that breaks nothing, so that no square
    under- or overflows that matters: what is far smaller is not limited.

    Args:
        soft: the levels outside the equivariant one.
        exponents: of these levels, 0 for those that break nothing, in float64.  # shape: (levels,)
        policy: the softness, neither 0 nor 1.
        symmetric: where coefficients break nothing; None for nowhere.  # shape: (some,)
        dtype: of the coefficients, or wider.
    """

    def __init__(
        self,
        soft: WeightTransform,
        exponents: Tensor,
        policy: Graded,
        symmetric: Tensor | None,
        dtype: torch.dtype,
    ) -> None:
        self._soft, self._policy, self._symmetric, self._dtype = soft, policy, symmetric, dtype
        self._slack = policy.slack(exponents).to(soft.row_levels.device, dtype)[soft.row_levels]

    def __call__(self, coefficients: Tensor, own: Tensor, astray: Tensor | None = None) -> Tensor:
        """The factor t of all that breaks the symmetry, differentiably.

        Args:
            coefficients: of the directions outside the equivariant level, of any scale.  # shape: (dim,)
            own: the equivariant part of the weight, or its coefficients, and the norm of what else breaks nothing.
            astray: what the weight has already in these directions; None for nothing.  # shape: (dim,)

        Returns:
            t in [0, 1].  # shape: ()
        """
        coefficients, own = coefficients.to(self._dtype), own.to(self._dtype)
        parts = [own.flatten()]
        if self._symmetric is not None:
            opened = self._policy.opening * coefficients[self._symmetric]
            parts.append(opened if astray is None else opened + astray.to(self._dtype)[self._symmetric])
        free = torch.cat(parts) if len(parts) > 1 else parts[0]
        scale = _scale(free, _NEGLIGIBLE * largest(coefficients))
        squares = self._soft.pieces((coefficients * scale).square())
        energies = torch.cat([piece.sum(0) for piece in squares])  # of the rows of all blocks
        return self._policy.share((free * scale).square().sum(), (energies * self._slack).sum())


def _scale(weight: Tensor, beside: Tensor | None) -> Tensor:
    """1 / the largest entry of a weight and the norm of what stands beside it; 1 if all are 0."""
    most = largest(weight)
    if beside is not None:
        most = torch.maximum(most, beside.detach().to(weight))
    return 1 / torch.where(most > 0, most.clamp(min=torch.finfo(most.dtype).tiny), 1.0)  # or it may be infinite


def largest(values: Tensor) -> Tensor:
    """The largest absolute value; aminmax takes a tenth of the time of the norm."""
    low, high = values.detach().aminmax()
    return torch.maximum(-low, high)
