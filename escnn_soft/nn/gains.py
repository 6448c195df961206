"""The gains of a layer's levels, as its policy and its parameters have them at this moment."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from escnn_soft.policies import Budget, Learned, Policy
from escnn_soft.spectrum import IrrepGrams, WeightTransform

__all__ = ["LevelGains"]


class LevelGains:
    """One factor a level outside escnn's basis, for a kernel or a bias.

    Args:
        policy: the rule.
        transform: the spectrum, in float64.
        like: a parameter of the layer, for its device and dtype.

    Attributes:
        breaking: the levels outside escnn's basis, on the layer's device in its dtype.
        static: gains that do not depend on parameters.  # shape: (levels,)
        closed: whether they are all 0.
    """

    def __init__(self, policy: Policy, transform: WeightTransform, like: Tensor) -> None:
        self.policy = policy
        self.breaking = transform.breaking.to(like.device, like.dtype)
        self.static = policy.gains(self.breaking.dial).to(like)
        self.closed = not bool(self.static.any())
        if isinstance(policy, Budget):
            self._prepare(transform, like.device, torch.promote_types(like.dtype, torch.float32))

    def _prepare(self, transform: WeightTransform, device: torch.device, work: torch.dtype) -> None:
        """What a budget needs, at least in single precision."""
        self._work, self._equivariant = work, transform.equivariant.to(device, work)
        levels = self.breaking.levels
        self._symmetric = torch.tensor([level.irrep_id is not None and level.sigma == 0 for level in levels]).to(device)
        whole = transform.whole.breaking.to(device, work)
        self._embeddings = [
            None if block.basis.embedding is None else block.basis.embedding[block.span, full.span].to(device, work)
            for block, full in zip(self.breaking.blocks, whole.blocks, strict=True)
        ]
        self._grams = IrrepGrams(whole)
        irreps = list(zip(self._grams.irreps, self._grams.sigmas, strict=True))
        self._lawful = [i for i, (irrep, sigma) in enumerate(irreps) if irrep is not None and sigma > 0]
        self._other = {
            "symmetric": [i for i, (irrep, sigma) in enumerate(irreps) if irrep is not None and sigma == 0],
            "lawless": [i for i, (irrep, _) in enumerate(irreps) if irrep is None],
        }
        orbit = whole.group.orbit([irrep for irrep, sigma in irreps if irrep is not None and sigma > 0])
        self._orbit = orbit.to(device, work)

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
        # squares of unscaled weights could underflow; a common factor of all weights changes nothing
        scale = torch.maximum(soft.detach().abs().max(), strict.detach().abs().max()).to(self._work)
        scale = 1 / torch.where(scale > 0, scale, 1.0)
        soft, strict = soft.to(self._work) * scale, strict.to(self._work) * scale
        return self.within_budget(self.breaking.pieces(soft), self._energy(strict))

    def within_budget(self, coefficients: Sequence[Tensor], equivariant: Tensor) -> Tensor:
        """The gains of a budget, differentiably.

        Args:
            coefficients: of the directions outside escnn's basis, block by block, scaled to values around 1.
                # each: (pairs of copies, directions)
            equivariant: squared norm of the weights in escnn's basis, scaled likewise.  # shape: ()

        Returns:
            The gains.  # shape: (levels,)
        """
        assert isinstance(self.policy, Budget)
        grams = self._grams(
            [
                c if embedding is None else c @ embedding
                for c, embedding in zip(coefficients, self._embeddings, strict=True)
            ]
        )
        symmetric, lawless = (
            sum((torch.trace(grams[i]) for i in self._other[kind]), equivariant.new_zeros(())) for kind in self._other
        )
        symmetric = symmetric + equivariant
        eps = torch.finfo(self.static.dtype).eps
        t = self.policy.factor(symmetric, [grams[i] for i in self._lawful], lawless, self._orbit, eps)
        return torch.where(self._symmetric, self.static, t.to(self.static) * self.static)

    def _energy(self, strict: Tensor) -> Tensor:
        """||W||^2 of escnn's part; its coefficients where the harmonics are not orthonormal."""
        return (strict if self._equivariant.exact else self._equivariant.analysis(strict)).square().sum()
