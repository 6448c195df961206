"""One softness on one weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import cast

import torch
from torch import Tensor

from escnn_soft.dial.allowance import Allowance
from escnn_soft.dial.policies.budget import Budget
from escnn_soft.dial.policies.policy import Policy
from escnn_soft.errors import SoftnessError
from escnn_soft.grading import Graded, Level, LevelEnergy, SpectralGraded

__all__ = ["Dial", "check_bounded"]

Parts = tuple[Sequence[Tensor], Tensor]
"""Coefficients outside the equivariant level, block by block, and the rest of the weight, of which the norm counts."""


class Dial:
    r"""The levels of a weight, the gain that a policy gives to each, and what passes.

        F(W) = sum over levels of gain_l * W_l

    Turning it changes one vector of gains; the levels stay where they are.

    Args:
        graded: the levels, in float64.
        policy: the rule.
        device: of the weight.
        dtype: in which gains are computed; that of the weight, or wider.
        weight_dtype: that of the weight; ``dtype`` if None.

    Attributes:
        graded: the levels, in float64.
        here: the levels on the weight's device.
        policy: the rule.
        equivariant: number of levels whose gain is always 1; they come first.
        static: the gains as the policy alone has them.  # shape: (levels,)
        fixed: whether the gains depend on no parameter.
        closed: whether nothing but the equivariant levels passes, whatever the parameters.
        open: whether everything passes as it is, whatever the parameters.
    """

    def __init__(
        self,
        graded: Graded,
        policy: Policy,
        device: torch.device,
        dtype: torch.dtype,
        weight_dtype: torch.dtype | None = None,
    ) -> None:
        self.graded, self.policy = graded, policy
        self.equivariant = sum(level.equivariant for level in graded.levels)
        self._places = graded.dial
        self.to(device, dtype, weight_dtype)

    @torch.inference_mode(False)  # what is prepared here serves training too
    def to(self, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype | None = None) -> None:
        """Bring the levels and gains to another device or dtype, cast from float64."""
        self.device, self.dtype = device, dtype
        self._weight_dtype = dtype if weight_dtype is None else weight_dtype
        self.here = self.graded.to(device, dtype)
        self._allowance: Allowance | None = None
        # levels that break nothing, which no budget limits
        symmetric = [level.irrep_id is not None and level.sigma == 0 for level in self.graded.levels]
        self._symmetric = torch.tensor(symmetric, device=device)
        self.turn(self.policy)

    @torch.inference_mode(False)
    def turn(self, policy: Policy) -> None:
        """Take another policy."""
        self.policy = policy
        breaking = policy.gains(self._places)[self.equivariant :]
        gains = torch.cat([breaking.new_ones(self.equivariant), breaking])
        self.closed = not bool(breaking.any())
        self.fixed = self.closed or not (policy.learned or policy.bounded)
        self.open = self.fixed and bool((gains == 1).all())
        self.static = gains.to(self.device, self.dtype)
        if policy.bounded and not self.closed and self._allowance is None:
            graded = cast("SpectralGraded", self.graded)
            self._allowance = Allowance(graded.transform, self.device, self._weight_dtype)

    # ------------------------------------------------------------------ gains

    def gains(self, parts: Callable[[], Parts], logits: Tensor | None) -> Tensor:
        """The gain of each level, as the policy and the parameters have it at this moment, differentiably.

        Args:
            parts: the weight in two parts; asked for by a budget alone.
            logits: parameters of a learned policy.  # shape: (levels outside the equivariant one,)

        Returns:
            The gains.  # shape: (levels,)
        """
        if self.fixed:
            return self.static
        if self.policy.learned:
            assert logits is not None
            return torch.cat([self.static[: self.equivariant], logits.to(self.dtype).sigmoid()])
        assert self._allowance is not None
        t = self._allowance(cast("Budget", self.policy), *parts())
        return torch.where(self._symmetric, self.static, t.to(self.static) * self.static)

    def first_logits(self, dtype: torch.dtype) -> Tensor:
        """What the parameters of a learned policy begin with."""
        return self.static[self.equivariant :].to(dtype).logit()

    @property
    def learnable(self) -> int:
        """Number of a learned policy's parameters."""
        return len(self.graded.levels) - self.equivariant

    # ------------------------------------------------------------------ what passes

    def filtered(self, weight: Tensor, logits: Tensor | None) -> Tensor:
        """F(W), differentiably in the weight and the parameters; the weight itself where the dial is open.

        Args:
            weight: the unfiltered weight.
            logits: parameters of a learned policy.  # shape: (levels outside the equivariant one,)

        Returns:
            The filtered one, in the same shape and dtype.
        """
        if self.open:
            return weight
        work = weight.to(self.dtype)
        return self.here.filtered(work, self.weight_gains(work, logits)).to(weight.dtype)

    def weight_gains(self, weight: Tensor, logits: Tensor | None) -> Tensor:
        """The gains, given the unfiltered weight itself."""
        return self.gains(lambda: self._parts(weight.to(self.dtype)), logits)

    def strict(self, weight: Tensor) -> Tensor:
        """The equivariant part of a weight, at any softness."""
        gains = (torch.arange(len(self.static), device=self.device) < self.equivariant).to(self.static)
        return self.here.filtered(weight.to(self.dtype), gains).to(weight.dtype)

    def _parts(self, weight: Tensor) -> Parts:
        assert self._allowance is not None
        return self._allowance.parts(cast("SpectralGraded", self.here).block_coefficients(weight))

    # ------------------------------------------------------------------ what it is made of

    def spectrum(self, weight: Tensor, gains: Tensor) -> tuple[LevelEnergy, ...]:
        """The energy of a weight, as it is used, and the gain of each level.

        Args:
            weight: after the gains.
            gains: of all levels.  # shape: (levels,)

        Returns:
            One entry a level, in the order of the dial.
        """
        energies = self.graded.energies(weight.detach().double().cpu()).tolist()
        names = [f.name for f in fields(Level)]
        return tuple(
            LevelEnergy(**{name: getattr(level, name) for name in names}, energy=energy, gain=gain)
            for level, energy, gain in zip(self.graded.levels, energies, gains.tolist(), strict=True)
        )


def check_bounded(graded: Graded, policy: Policy) -> None:
    """Refuse a policy that needs a bound of the error where there is none.

    Args:
        graded: the levels.
        policy: the policy.

    Raises:
        SoftnessError: if no irreps grade the weight.
    """
    if policy.bounded and not isinstance(graded, SpectralGraded):
        remedy = "Use a float, Cutoff or Learned."
        raise SoftnessError("softness", policy, "a softness that needs no bound of the error here", remedy)
