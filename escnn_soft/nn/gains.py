"""The gains of a layer's levels, as its policy and its parameters have them at this moment."""

from __future__ import annotations

import torch
from torch import Tensor

from escnn_soft.policies import Budget, Learned, Policy
from escnn_soft.spectrum import IrrepGrams, WeightTransform

__all__ = ["LevelGains"]


class LevelGains:
    """One factor a level outside escnn's basis, for a kernel or a bias.

    Args:
        policy: the rule.
        transform: the spectrum, on the layer's device in its dtype.
    """

    def __init__(self, policy: Policy, transform: WeightTransform) -> None:
        self.policy = policy
        self.equivariant, self.breaking = transform.equivariant, transform.breaking
        rows = transform.frame_out.to_fields.device, transform.blocks[0].rows.dtype
        self.static = policy.gains(self.breaking.dial).to(*rows)
        self.closed = not bool(self.static.any())
        if isinstance(policy, Budget):
            self._prepare(*rows)

    def _prepare(self, device: torch.device, dtype: torch.dtype) -> None:
        levels = self.breaking.levels
        self._symmetric = torch.tensor([level.irrep_id is not None and level.sigma == 0 for level in levels]).to(device)
        self._grams = IrrepGrams(self.breaking)
        irreps = list(zip(self._grams.irreps, self._grams.sigmas, strict=True))
        self._lawful = [i for i, (irrep, sigma) in enumerate(irreps) if irrep is not None and sigma > 0]
        self._other = {
            "symmetric": [i for i, (irrep, sigma) in enumerate(irreps) if irrep is not None and sigma == 0],
            "lawless": [i for i, (irrep, _) in enumerate(irreps) if irrep is None],
        }
        orbit = self.breaking.group.orbit([irrep for irrep, sigma in irreps if irrep is not None and sigma > 0])
        self._orbit = orbit.to(device, dtype)

    def __call__(self, soft: Tensor, strict: Tensor, logits: Tensor | None) -> Tensor:
        """The gains, differentiably.

        Args:
            soft: coefficients of the directions outside escnn's basis.  # shape: (directions,)
            strict: escnn's own kernel or bias.  # shape: (out, in, S)
            logits: parameters of a learned policy.  # shape: (levels,)

        Returns:
            The gains.  # shape: (levels,)
        """
        if isinstance(self.policy, Learned):
            assert logits is not None
            return logits.sigmoid()
        if not isinstance(self.policy, Budget) or self.closed:
            return self.static
        grams = self._grams(self.breaking.pieces(soft))
        symmetric, lawless = (
            sum((torch.trace(grams[i]) for i in self._other[kind]), soft.new_zeros(())) for kind in self._other
        )
        symmetric = symmetric + self._energy(strict)
        t = self.policy.factor(symmetric, [grams[i] for i in self._lawful], lawless, self._orbit)
        return torch.where(self._symmetric, self.static, t * self.static)

    def _energy(self, strict: Tensor) -> Tensor:
        """||W||^2 of escnn's part; its coefficients where the harmonics are not orthonormal."""
        return (strict if self.equivariant.exact else self.equivariant.analysis(strict)).square().sum()
