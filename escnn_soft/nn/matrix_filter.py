"""The filter of the levels of a matrix: W -> sum over levels of gain * W_level."""

from __future__ import annotations

import math
from dataclasses import fields

import torch
from torch import Tensor

from escnn_soft.nn.gains import LevelGains
from escnn_soft.policies import Budget, Learned, Policy
from escnn_soft.spectrum import Level, LevelEnergy, WeightTransform

__all__ = ["MatrixFilter"]


class MatrixFilter:
    """Weighs the levels of a matrix by a policy; idempotent where the gains are 0 and 1.

    Args:
        policy: the rule.
        transform: the spectrum, in float64.
        like: a parameter of the layer, for its device and dtype.

    Attributes:
        static: gains of the levels that break the symmetry, as far as they do not depend on parameters.
    """

    def __init__(self, policy: Policy, transform: WeightTransform, like: Tensor) -> None:
        self._exact = transform
        self._transform = transform.to(like.device, like.dtype)
        self._equivariant = self._transform.equivariant
        self._gains = LevelGains(policy, transform, like)
        self._constant = self._gains.closed or not isinstance(policy, Budget | Learned)
        self._open = self._constant and bool((self._gains.static == 1).all())
        self.static = self._gains.static

    def __call__(self, weight: Tensor, logits: Tensor | None) -> Tensor:
        """The filtered matrix, differentiably.

        Args:
            weight: the unfiltered matrix.  # shape: (out, in)
            logits: parameters of a learned policy.  # shape: (levels,)

        Returns:
            The matrix.  # shape: (out, in)
        """
        if self._open:
            return weight
        if self._gains.closed:
            return self._equivariant.project(weight)
        coefficients = self._transform.analysis(weight)
        return self._transform.synthesis(coefficients, self._every_gain(weight, logits))[:, :, 0]

    def _every_gain(self, weight: Tensor, logits: Tensor | None) -> Tensor:
        """The gains of all levels, 1 for the equivariant one."""
        gains = self.static
        if not self._constant:
            soft = self._gains.breaking.analysis(weight)
            gains = self._gains(soft, self._equivariant.project(weight)[:, :, None], logits)
        return torch.cat([gains.new_ones(len(self._equivariant.levels)), gains])

    def energies(self, weight: Tensor, logits: Tensor | None) -> tuple[LevelEnergy, ...]:
        """The energy of the filtered matrix and the gain of each level."""
        matrix, gains = self(weight, logits), self._every_gain(weight, logits)
        names = [f.name for f in fields(Level)]
        values = self._exact.energies(matrix.double().cpu()).tolist()
        return tuple(
            LevelEnergy(**{name: getattr(level, name) for name in names}, energy=energy, gain=gain)
            for level, energy, gain in zip(self._exact.levels, values, gains.tolist(), strict=True)
        )

    def variance_preserving(self, normal: Tensor) -> Tensor:
        """An unfiltered matrix whose filtered one keeps the variance of white noise, from independent normal numbers.

        Equivariant directions have variance d_out / (in copies * directions), so that one copy of an irrep keeps its
        variance. The others have 1 / in, like those of a plain layer, before their gain; where the sum exceeds
        the input's variance it is scaled down to it.

        Args:
            normal: independent standard normal numbers.  # shape: (out, in)

        Returns:
            The matrix.  # shape: (out, in)
        """
        transform, gains = self._transform, torch.cat([normal.new_ones(len(self._equivariant.levels)), self.static])
        pieces, columns = transform.pieces(transform.analysis(normal)), len(transform.frame_in.irreps)
        scaled: list[Tensor] = []
        for start in range(0, len(transform.blocks), columns):
            band = transform.blocks[start : start + columns]
            strict = [block.level < len(self._equivariant.levels) for block in band]
            reaching = sum(bool(mask.any()) for mask in strict)
            variances, energy = [], 0.0
            for block, mask in zip(band, strict, strict=True):
                _, d_out, copies_in, _ = block.copies
                own = d_out / max(reaching * copies_in * int(mask.sum()), 1)
                variances.append(torch.where(mask, own, 1 / transform.shape[1]).to(normal))
                energy += copies_in / d_out * float((variances[-1] * gains[block.level].square()).sum())
            factor = 1 / math.sqrt(max(energy, 1.0))
            parts = zip(pieces[start : start + columns], variances, strict=True)
            scaled += [(factor * variance.sqrt() * piece).flatten() for piece, variance in parts]
        return transform.synthesis(torch.cat(scaled))[:, :, 0]
