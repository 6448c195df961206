"""The part of a transform of weights between the copies of one irrep and those of another."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from escnn_soft.grading.factors import Factors, narrowed
from escnn_soft.grading.pair_basis import PairBasis

__all__ = ["Block"]


@dataclass(frozen=True, eq=False)
class Block:
    """The part of the transform between all copies of one output irrep and all copies of one input irrep.

    Attributes:
        basis: graded basis between one copy and another, in float64.
        span: the rows of the basis that are used.
        rows: these rows, on the transform's device in its dtype.  # shape: (D, d_out * S * d_in)
        level: level of each such row.  # shape: (D,)
        copies: (copies of the output irrep, d_out, copies of the input irrep, d_in).
        shape: of the block's coefficients: (pairs of copies, directions).
    """

    basis: PairBasis
    span: slice
    rows: Tensor | Factors
    level: Tensor
    copies: tuple[int, int, int, int]
    shape: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        """Look the shape up once."""
        object.__setattr__(self, "shape", (self.copies[0] * self.copies[2], self.rows.shape[0]))

    def narrow(self, start: int, stop: int) -> Block:
        """The part of the block in levels ``start`` to ``stop``, numbered from ``start``."""
        # rows are sorted by level, so a range of levels is a range of rows
        first, last = torch.searchsorted(self.level, self.level.new_tensor([start, stop])).tolist()
        span = slice(self.span.start + first, self.span.start + last)
        return Block(
            self.basis, span, narrowed(self.rows, slice(first, last)), self.level[first:last] - start, self.copies
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Block:
        """The block on a device in a dtype; the cast is shared by all layers."""
        rows = narrowed(self.basis.cast(device, dtype), self.span)
        return Block(self.basis, self.span, rows, self.level.to(device), self.copies)

    @property
    def dual(self) -> Tensor | Factors:
        """The inverse of ``rows`` on their span, (d_out * S * d_in, D): its columns take coefficients."""
        if self.basis.orthogonal:
            return self.rows.mT
        if isinstance(self.rows, Factors):
            return self.rows.inverse
        if torch.compiler.is_compiling():
            return narrowed(self.basis.dual, self.span, dim=1).to(self.rows.device, self.rows.dtype)
        return narrowed(self.basis.cast_dual(self.rows.device, self.rows.dtype), self.span, dim=1)

    def joined(self, pairs: Tensor) -> Tensor:
        """Weights (copies_out * d_out * S, copies_in * d_in), from one row a pair of copies."""
        copies_out, d_out, copies_in, d_in = self.copies
        pairs = pairs.view(copies_out, copies_in, d_out, -1, d_in)
        return pairs.permute(0, 2, 3, 1, 4).reshape(-1, copies_in * d_in)

    def pairs(self, weight: Tensor) -> Tensor:
        """One row a pair of copies, (pairs, d_out * S * d_in), of weights (copies_out * d_out, S, copies_in * d_in)."""
        copies_out, d_out, copies_in, d_in = self.copies
        weight = weight.reshape(copies_out, d_out, -1, copies_in, d_in).permute(0, 3, 1, 2, 4)
        return weight.reshape(copies_out * copies_in, -1)
