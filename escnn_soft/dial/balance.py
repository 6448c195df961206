"""The factor that keeps a weight in the set of a :class:`Graded` softness."""

from __future__ import annotations

import torch
from torch import Tensor

from escnn_soft.dial.held import Held
from escnn_soft.dial.magnitude import hypotenuse, largest, norm, norm_of, scale_of
from escnn_soft.dial.policies.graded import Graded
from escnn_soft.grading import Grading, WeightTransform
from escnn_soft.linalg.one_step import one_step

__all__ = ["CoefficientBalance", "WeightBalance"]

_TINY = torch.finfo(torch.float64).tiny


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
        scale = scale_of(largest(weight), beside)
        energies = self._graded.energies(weight * scale)
        return self.of_energies(energies, (own * scale).double().square().sum(), scale, beside)

    def of_energies(self, energies: Tensor, free: Tensor, scale: Tensor, beside: Tensor | None) -> Tensor:
        """As above, from what the weight is made of.

        Args:
            energies: squared norms of its levels, times the square of a scale.  # shape: (levels,)
            free: squared norm of the part that breaks nothing, after the gains, times the same.  # shape: ()
            scale: the scale.  # shape: ()
            beside: norm of what else in the layer breaks nothing.  # shape: ()

        Returns:
            The factor in [0, 1], in float64.  # shape: ()
        """
        breaking, free = energies.double()[self._breaking], free.double()
        if beside is not None:
            free = free + (beside.double() * scale.double()).square()
        if self._held is Held.GIVEN:
            return self._policy.retraction(free, breaking, self._stretch, self._slack)
        return self._policy.share(free, (self._slack * breaking).sum())


class CoefficientBalance:
    """t of a weight that is given by coefficients, before their gains.

    Args:
        soft: the levels outside the equivariant one.
        exponents: of these levels, 0 for those that break nothing, in float64.  # shape: (levels,)
        policy: the softness, neither 0 nor 1.
        symmetric: where coefficients break nothing; None for nowhere.  # shape: (some,)
        dtype: of the coefficients.
    """

    def __init__(
        self,
        soft: WeightTransform,
        exponents: Tensor,
        policy: Graded,
        symmetric: Tensor | None,
        dtype: torch.dtype,
    ) -> None:
        self._policy, self._symmetric = policy, symmetric
        roots = policy.slack(exponents).sqrt().to(soft.row_levels.device, dtype)
        self._roots = soft.spread(roots)  # of what counts; 0 for what breaks nothing.  # shape: (dim,)

    def __call__(self, coefficients: Tensor, own: Tensor, astray: Tensor | None = None) -> Tensor:
        """The factor t of all that breaks the symmetry, differentiably.

        Args:
            coefficients: of the directions outside the equivariant level, of any scale.  # shape: (dim,)
            own: norm of the equivariant part of the weight, and of what else breaks nothing.  # shape: ()
            astray: what the weight has already in these directions; None for nothing.  # shape: (dim,)

        Returns:
            t in [0, 1], in float64.  # shape: ()
        """
        if self._symmetric is not None:
            opened = self._policy.opening * coefficients.index_select(0, self._symmetric)
            whole = opened if astray is None else opened + astray.index_select(0, self._symmetric)
            own = hypotenuse(own, norm(whole))
        return self._share(coefficients, own)

    def _share(self, coefficients: Tensor, free: Tensor) -> Tensor:
        """min(1, free / given), and 0 of nothing."""
        roots = self._roots
        found: list[Tensor] = []

        def forth(coefficients: Tensor, free: Tensor) -> Tensor:
            found[:] = (given := norm_of(coefficients * roots),)
            return free / torch.maximum(free, given).clamp(min=_TINY)

        def back(gradient: Tensor, coefficients: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
            given = found[0].clamp(min=_TINY)
            slope = torch.where(given > free, gradient / given, 0.0)
            # in this order no product is out of range
            along = (1 / given).clamp(max=torch.finfo(coefficients.dtype).max).to(coefficients)
            less = (-slope * free / given).to(coefficients)
            return (coefficients * roots).mul_(along).mul_(roots * less), slope

        return one_step(forth, back, coefficients, free)
