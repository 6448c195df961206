"""All blocks as one matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from escnn_soft.grading.arrangement import Arrangement, OneByOne
from escnn_soft.grading.factors import dense, times
from escnn_soft.grading.unit import Unit

__all__ = ["AsMatrix"]


@dataclass(frozen=True, eq=False)
class _Matrix(Unit):
    """All blocks as one matrix, in the order of the coefficients.

    Attributes:
        inverse: dual of the rows.  # shape: (out * in * S, dim)
    """

    inverse: Tensor

    @property
    def dual(self) -> Tensor:
        """What tells the coefficients."""
        return self.inverse


class AsMatrix(Arrangement):
    """One unit, for the smallest weights, such as a bias: the change of basis itself.

    Args:
        blocks: the same, one by one.
    """

    def __init__(self, blocks: OneByOne) -> None:
        self._shape = blocks.frame_out.size, blocks.frame_in.size, blocks.points
        rows, size = dense(blocks.blocks[0].rows), math.prod(self._shape)
        dim = sum(math.prod(block.shape) for block in blocks.blocks)

        def synthesis(coefficients: Tensor) -> Tensor:
            pieces = zip(blocks.units, blocks.pieces(coefficients), strict=True)
            return blocks.weight([unit.through(piece, None) for unit, piece in pieces]).reshape(-1)

        def analysis(weight: Tensor) -> Tensor:
            parts = zip(blocks.units, blocks.parts(weight.view(self._shape)), strict=True)
            return blocks.coefficients([times(part, unit.dual) for unit, part in parts])

        forth = rows.new_zeros(0, size) if dim == 0 else torch.vmap(synthesis)(torch.eye(dim).to(rows))
        back = torch.vmap(analysis)(torch.eye(size).to(rows))
        levels = torch.cat([block.level.expand(block.shape).reshape(-1) for block in blocks.blocks])
        self.units = (_Matrix(blocks.blocks, forth, levels, 1, back),)

    def pieces(self, coefficients: Tensor) -> list[Tensor]:
        """All of them."""
        return [coefficients[None]]

    def coefficients(self, pieces: list[Tensor]) -> Tensor:
        """All of them."""
        return pieces[0][0]

    def weight(self, parts: list[Tensor]) -> Tensor:
        """The product as it is."""
        return parts[0].view(self._shape)

    def parts(self, weight: Tensor) -> list[Tensor]:
        """The weight as it is."""
        return [weight.reshape(1, -1)]
