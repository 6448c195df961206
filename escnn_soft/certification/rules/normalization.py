"""Batch normalisation with its stored statistics: a scaling and a shift of each field."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from escnn.group import Representation
from escnn.nn import FieldType, GeometricTensor, GNormBatchNorm, InnerBatchNorm
from torch import Tensor

from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Rule, not_permuting
from escnn_soft.escnn.stored_arguments import normalized_together

__all__ = ["BatchNorm", "invariants"]


class BatchNorm(Rule):
    """x -> weight (x - mean) / sqrt(variance + eps) + bias, one factor a field: its largest factor spreads most.

    What is added, f(0), has to be invariant. escnn projects means in single precision, so that it is only up to that.
    """

    ulps = 16.0

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The largest factor."""
        if not getattr(call.module, "track_running_stats", True):
            return (math.inf,)
        return (max(float(factors.abs().max()) for factors, _ in normalized_together(call.module)),)

    def no_constant(self, call: Call) -> str:
        """Statistics of the batch."""
        return "it normalises with the statistics of the batch, so samples depend on each other"

    def refusal(self, call: Call, row: int) -> str | None:
        """A shift that is the same for all channels of a field is invariant under permutations only."""
        return not_permuting(call.action, row) if isinstance(call.module, InnerBatchNorm) else None

    def own(self, call: Call, row: int) -> Deviation | None:
        """||g f(0) - f(0)||, at most twice what is not invariant in f(0), at every pixel."""
        still = call.x.new_zeros(1, call.x.shape[1], *[1] * (call.x.ndim - 2))
        shift = call.module(GeometricTensor(still, call.type)).tensor.detach().double().cpu().flatten()
        left = float((shift - invariants(call.type) @ shift).norm())
        return Deviation(constant=2 * left * math.sqrt(call.points))

    def offset(self, call: Call) -> float:
        """Means and biases, at every pixel."""
        total = sum(float(t.detach().double().square().sum()) for t in _shifts(call.module))
        return math.sqrt(total * call.points * call.type.size)

    def scales(self, call: Call) -> Tensor | None:
        """The factor of each channel; those of irreps inside a field are not channel by channel."""
        if isinstance(call.module, GNormBatchNorm):
            return None
        scales = torch.zeros(call.type.size, dtype=torch.float64)
        for factors, channels in normalized_together(call.module):
            scales[channels] = factors.cpu().repeat_interleave(len(channels) // len(factors))
        return scales


def invariants(field_type: FieldType) -> Tensor:
    """The orthogonal projection onto the invariant vectors of a type, in double precision."""
    return torch.block_diag(*(_invariants(rho) for rho in field_type.representations))


def _invariants(rho: Representation) -> Tensor:
    irreps = [rho.group.irrep(*irrep) for irrep in rho.irreps]
    trivial = torch.tensor([psi.is_trivial() for psi in irreps for _ in range(psi.size)])
    vectors = torch.from_numpy(rho.change_of_basis).double()[:, trivial]
    return vectors @ vectors.T


def _shifts(module: Any) -> Iterator[Tensor]:
    """Everything that is added to a channel."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if name.endswith(("bias", "running_mean")):
            yield tensor
