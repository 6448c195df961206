"""The factor that keeps a weight within a bound on its own certified error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from escnn_soft.dial.policies.budget import Budget
from escnn_soft.dial.policies.resolution import Resolution
from escnn_soft.grading import IrrepGrams, WeightTransform

__all__ = ["Allowance"]


class Allowance:
    """What a :class:`Budget` asks of a weight, prepared for one device and dtype; the budget itself may change.

    Args:
        transform: the spectrum, in float64.
        resolution: of the weight.
        device: of the weight.
        dtype: of the weight.
    """

    def __init__(
        self, transform: WeightTransform, resolution: Resolution, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._resolution = resolution
        self.work = torch.promote_types(dtype, torch.float32)
        whole, soft = transform.whole.soft.to(device, self.work), transform.soft
        self._embeddings = [
            None
            if block.basis.embedding is None
            else block.basis.embedding[block.span, full.span].to(device, self.work)
            for block, full in zip(soft.blocks, whole.blocks, strict=True)
        ]
        self._strict = [block.shape[1] for block in transform.equivariant.blocks]
        self._grams = IrrepGrams(whole)
        irreps = list(zip(self._grams.irreps, self._grams.sigmas, strict=True))
        self._lawful = [i for i, (irrep, sigma) in enumerate(irreps) if irrep is not None and sigma > 0]
        self._symmetric = [i for i, (irrep, sigma) in enumerate(irreps) if irrep is not None and sigma == 0]
        self._lawless = [i for i, (irrep, _) in enumerate(irreps) if irrep is None]
        orbit = whole.group.orbit([irrep for irrep, sigma in irreps if irrep is not None and sigma > 0])
        self._orbit = orbit.to(device, self.work)

    def soft(self, coefficients: Sequence[Tensor]) -> list[Tensor]:
        """Those of a whole weight's coefficients that lie outside the equivariant level, block by block."""
        return [c[:, n:] for c, n in zip(coefficients, self._strict, strict=True)]

    def __call__(self, budget: Budget, coefficients: Sequence[Tensor], equivariant: Tensor) -> tuple[Tensor, Tensor]:
        """The factor t of all that breaks the symmetry, differentiably.

        Args:
            budget: the bound.
            coefficients: of the directions outside the equivariant level, block by block, of any scale.
                # each: (pairs of copies, directions)
            equivariant: the other part of the weight, or its coefficients.

        Returns:
            t in [0, 1], and whether the dtype can tell a kernel within the budget.  # shapes: (), ()
        """
        # squares of unscaled weights could underflow; a common factor of all weights changes nothing
        largest = (
            torch.cat([part.detach().flatten() for part in (*coefficients, equivariant)]).abs().max().to(self.work)
        )
        # the inverse of a subnormal number may be infinite
        scale = 1 / torch.where(largest > 0, largest.clamp(min=torch.finfo(self.work).tiny), 1.0)
        scaled = [c.to(self.work) * scale for c in coefficients]
        grams = self._grams([
            c if embedding is None else c @ embedding for c, embedding in zip(scaled, self._embeddings, strict=True)
        ])  # fmt: skip
        nothing = equivariant.new_zeros((), dtype=self.work)
        symmetric, lawless = (
            sum((torch.trace(grams[i]) for i in some), nothing) for some in (self._symmetric, self._lawless)
        )
        symmetric = symmetric + (equivariant.to(self.work) * scale).square().sum()
        resolution = replace(self._resolution, absolute=self._resolution.absolute * scale)
        return budget.factor(symmetric, [grams[i] for i in self._lawful], lawless, self._orbit, resolution)
