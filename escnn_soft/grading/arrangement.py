"""The numbers of a transform, unit by unit: what every arrangement can do, and block by block as the slow way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.grading.block import Block
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.unit import Unit

__all__ = ["Arrangement", "OneByOne", "Split"]


@dataclass(frozen=True, eq=False)
class Split:
    """Where coefficients lie when those of the first level come before all others.

    Attributes:
        shapes: of each block's coefficients: (pairs, directions).
        first: directions of the first level in each block; they come first.
    """

    shapes: tuple[tuple[int, int], ...]
    first: tuple[int, ...]

    @property
    def widths(self) -> list[tuple[int, int]]:
        """Directions of each block, those of the first level and the others."""
        return [(n, columns - n) for (_, columns), n in zip(self.shapes, self.first, strict=True)]

    @property
    def sizes(self) -> tuple[int, int]:
        """Coefficients of the first level, and of the others."""
        own = sum(pairs * n for (pairs, _), n in zip(self.shapes, self.first, strict=True))
        return own, sum(pairs * columns for pairs, columns in self.shapes) - own

    @cached_property
    @lasting()
    def places(self) -> tuple[Tensor, Tensor]:
        """Where each coefficient, block by block, lies in the two, one behind the other; and back."""
        numbers = torch.arange(sum(self.sizes))
        parts = numbers.split([pairs * columns for pairs, columns in self.shapes])
        blocks = [
            part.view(shape).split(width, dim=1)
            for part, shape, width in zip(parts, self.shapes, self.widths, strict=True)
        ]
        back = torch.cat([block[k].flatten() for k in (0, 1) for block in blocks])
        return torch.empty_like(back).index_copy(0, back, numbers), back


class Arrangement(ABC):
    """The numbers of a transform, unit by unit.

    Attributes:
        units: what is multiplied at once.
    """

    units: tuple[Unit, ...]

    @abstractmethod
    def pieces(self, coefficients: Tensor) -> list[Tensor]:
        """Coefficients (dim,) unit by unit, (..., pairs, D) each."""

    @abstractmethod
    def coefficients(self, pieces: list[Tensor]) -> Tensor:
        """The adjoint of :meth:`pieces`, which is its inverse but for the padding."""

    def joint_pieces(self, split: Split, first: Tensor, others: Tensor) -> list[Tensor]:
        """As :meth:`pieces`, from the coefficients of the first level and those of the others."""
        return self.pieces(torch.cat([first, others]).index_select(0, split.places[0].to(first.device)))

    def prepare(self, split: Split) -> None:
        """Build what :meth:`joint_pieces` and its adjoint need."""
        _ = split.places

    def split(self, split: Split, pieces: list[Tensor]) -> tuple[Tensor, ...]:
        """The adjoint of :meth:`joint_pieces`."""
        return self.coefficients(pieces).index_select(0, split.places[1].to(pieces[0].device)).split(split.sizes)

    @abstractmethod
    def weight(self, parts: list[Tensor]) -> Tensor:
        """The weight (out, in, S), from its parts between irreps, (..., pairs, d_out * S * d_in) each."""

    @abstractmethod
    def parts(self, weight: Tensor) -> list[Tensor]:
        """The inverse of :meth:`weight`, and its adjoint."""


@dataclass(frozen=True, eq=False)
class OneByOne(Arrangement):
    """A unit a block: the matrices are large.

    Attributes:
        blocks: one per pair of irreps, input irreps running fastest.
        frame_out: change of basis of the output channels.
        frame_in: change of basis of the input channels.
        points: S, the number of pixels.
    """

    blocks: tuple[Block, ...]
    frame_out: ChannelFrame
    frame_in: ChannelFrame
    points: int

    def __post_init__(self) -> None:
        """The units are the blocks."""
        units = tuple(Unit((b,), b.rows, b.level, b.shape[0]) for b in self.blocks)
        object.__setattr__(self, "units", units)

    def pieces(self, coefficients: Tensor) -> list[Tensor]:
        """Views, one a block."""
        parts = coefficients.split([rows * columns for rows, columns in (block.shape for block in self.blocks)])
        return [part.view(block.shape) for part, block in zip(parts, self.blocks, strict=True)]

    def coefficients(self, pieces: list[Tensor]) -> Tensor:
        """One after the other."""
        return torch.cat([piece.reshape(-1) for piece in pieces])

    def prepare(self, split: Split) -> None:
        """Nothing to build."""

    def joint_pieces(self, split: Split, first: Tensor, others: Tensor) -> list[Tensor]:
        """Side by side, block by block."""
        heights = [block.shape[0] for block in self.blocks]
        both = (
            c.split([n * width[k] for n, width in zip(heights, split.widths, strict=True)])
            for k, c in enumerate((first, others))
        )
        each = zip(heights, *both, strict=True)
        return [torch.cat([a.view(n, -1), b.view(n, -1)], dim=1) for n, a, b in each]

    def split(self, split: Split, pieces: list[Tensor]) -> tuple[Tensor, ...]:
        """Apart again."""
        parts = [piece.split(width, dim=1) for piece, width in zip(pieces, split.widths, strict=True)]
        return tuple(torch.cat([part[k].reshape(-1) for part in parts]) for k in (0, 1))

    def weight(self, parts: list[Tensor]) -> Tensor:
        """Joined band by band, and out of the frames."""
        m, n, s = self.frame_out.size, self.frame_in.size, self.points
        weight = self.frame_in.out_of_irreps(self.between_irreps(parts).T)  # shape: (n, m * S)
        weight = self.frame_out.out_of_irreps(weight.T.reshape(m, s * n))
        return weight.view(m, s, n).transpose(1, 2)

    def between_irreps(self, parts: list[Tensor]) -> Tensor:
        """The parts in the order of the irreps, (out * S, in)."""
        columns = len(self.frame_in.irreps)
        joined = [block.joined(part) for block, part in zip(self.blocks, parts, strict=True)]
        return torch.cat([torch.cat(joined[i : i + columns], dim=1) for i in range(0, len(joined), columns)])

    def parts(self, weight: Tensor) -> list[Tensor]:
        """Into the frames, and band by band."""
        m, n, s = self.frame_out.size, self.frame_in.size, self.points
        hat = weight.transpose(1, 2).reshape(m, s * n)
        hat = self.frame_out.into_irreps(hat).view(m * s, n)
        hat = self.frame_in.into_irreps(hat.T).T.reshape(m, s, n)
        heights, widths = ([copies * d for _, copies, d in f.irreps] for f in (self.frame_out, self.frame_in))
        parts = [part for band in hat.split(heights) for part in band.split(widths, dim=2)]
        return [block.pairs(part) for block, part in zip(self.blocks, parts, strict=True)]
