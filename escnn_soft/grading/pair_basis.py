"""A graded basis of the kernels between one irrep and another, shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.grading.factors import Factors, dense

__all__ = ["LAWLESS", "LevelKey", "PairBasis"]

LevelKey = tuple[int, bool, float, IrrepId]
"""(stage, remainder, sigma, irrep): sorts levels along the dial, the equivariant one first."""

LAWLESS: IrrepId = ()
"""Stands for the irrep of a remainder on which the group has no law."""


@dataclass(frozen=True, eq=False)
class PairBasis:
    """A basis of the kernels from one input irrep to one output irrep, sorted by level.

    Attributes:
        rows: basis kernels; float64; of large kernels as factors.  # shape: (D, d_out * S * d_in)
        levels: key and number of rows of each level that occurs, in order.
        orthogonal: whether the rows are orthonormal.
        embedding: the rows in the whole basis, orthonormal; None for a basis of all kernels.  # shape: (D, D_whole)
        whole: the basis of all kernels of which this is a part.
    """

    rows: Tensor | Factors
    levels: tuple[tuple[LevelKey, int], ...]
    orthogonal: bool
    embedding: Tensor | None = None
    whole: PairBasis | None = None

    def __post_init__(self) -> None:
        """Give each basis its own memo of casts."""
        object.__setattr__(self, "cast", cache(self.cast))
        object.__setattr__(self, "cast_dual", cache(self.cast_dual))

    def __reduce__(self) -> tuple[type[PairBasis], tuple[object, ...]]:
        """What is remembered stays behind."""
        return PairBasis, (self.rows, self.levels, self.orthogonal, self.embedding, self.whole)

    @cached_property
    @lasting()
    def dual(self) -> Tensor | Factors:
        """The inverse of ``rows``: its columns take coefficients."""
        # shape: (d_out * S * d_in, D)
        if self.orthogonal:
            return self.rows.mT
        if isinstance(self.rows, Factors):
            return self.rows.inverse
        if self.whole is None or self.embedding is None:
            return torch.linalg.inv(self.rows)
        return dense(self.whole.dual) @ self.embedding.mT

    @torch.inference_mode(False)
    def cast(self, device: torch.device, dtype: torch.dtype) -> Tensor | Factors:
        """The rows on a device in a dtype, cast from float64 once and remembered."""
        return self.rows.to(device=device, dtype=dtype)

    @torch.inference_mode(False)
    def cast_dual(self, device: torch.device, dtype: torch.dtype) -> Tensor | Factors:
        """Likewise of ``dual``."""
        return self.dual.to(device=device, dtype=dtype)
