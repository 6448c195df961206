"""What a transform multiplies at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.grading.block import Block
from escnn_soft.grading.factors import Factors, dense, times

__all__ = ["Unit", "filled"]

_FUSED = 256
"""Largest matrix between two irreps, d_out * S * d_in, that is formed for fewer pairs of copies than it has rows."""


@dataclass(frozen=True, eq=False)
class Unit:
    """What is multiplied at once: a block, or some of one shape, padded with rows of zeros.

    Attributes:
        blocks: those that are multiplied.
        rows: their basis kernels; factors, of a single block of a large kernel.  # shape: (..., D, d_out * S * d_in)
        levels: level of each row; 0 for the padding.  # shape: (..., D)
        pairs: pairs of copies in each block.
    """

    blocks: tuple[Block, ...]
    rows: Tensor | Factors
    levels: Tensor
    pairs: int

    @property
    def dual(self) -> Tensor | Factors:
        """What tells the coefficients, (..., d_out * S * d_in, D)."""
        if all(block.basis.orthogonal for block in self.blocks):
            return self.rows.mT
        if len(self.rows.shape) == 2:
            return self.blocks[0].dual
        if torch.compiler.is_compiling() and "_duals" not in self.__dict__:
            return self._stacked_duals()
        return self._duals

    @cached_property
    @lasting()
    def _duals(self) -> Tensor:
        return self._stacked_duals()

    def _stacked_duals(self) -> Tensor:
        return torch.stack([filled(dense(block.dual), 1, self.rows.shape[-2]) for block in self.blocks])

    def row_gains(self, gains: Tensor | None) -> Tensor | None:
        """The gain of each row, (..., D), from one a level."""
        return None if gains is None else gains[self.levels]

    def through(self, piece: Tensor, gains: Tensor | None) -> Tensor:
        """Weights (..., pairs, d_out * S * d_in), from coefficients (..., pairs, D) times the gains of their rows."""
        if gains is None:
            return times(piece, self.rows)
        if self._few:
            return times(piece * gains.unsqueeze(-2), self.rows)
        return piece @ (gains.unsqueeze(-1) * dense(self.rows))

    def onto(self, part: Tensor, gains: Tensor | None) -> Tensor:
        """The adjoint of :meth:`through`."""
        if gains is None:
            return times(part, self.rows.mT)
        if self._few:
            return times(part, self.rows.mT) * gains.unsqueeze(-2)
        return part @ (gains.unsqueeze(-1) * dense(self.rows)).mT

    def onto_both(self, part: Tensor, piece: Tensor, gains: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives of :meth:`through` in both arguments, for a gradient: (..., pairs, D) and (..., D)."""
        moved = times(part, self.rows.mT)
        of_gains = (moved * piece).sum(-2)
        return moved.mul_(gains.unsqueeze(-2)), of_gains

    def multiplier(self, gains: Tensor) -> Tensor | None:
        """dual @ diag(gains) @ rows: analysis, one factor a row, and synthesis as one matrix; None if it is too large.

        Args:
            gains: factors, in the dtype of the rows.  # shape: (..., D)

        Returns:
            The matrix.  # shape: (..., d_out * S * d_in, d_out * S * d_in)
        """
        size = self.rows.shape[-1]
        if isinstance(self.rows, Factors) or (size > _FUSED and size > self.pairs):
            return None
        return dense(self.dual) @ (gains.unsqueeze(-1) * self.rows)

    @property
    def _few(self) -> bool:
        """Whether there are fewer coefficients than numbers in the rows."""
        return isinstance(self.rows, Factors) or self.pairs < self.rows.shape[-1]


def filled(t: Tensor, dim: int, size: int) -> Tensor:
    """A tensor with zeros behind it along a dimension."""
    shape = list(t.shape)
    shape[dim] = size - t.shape[dim]
    return torch.cat([t, t.new_zeros(shape)], dim=dim)
