"""How the blocks of a transform are multiplied: one by one, all of one shape at once, or all by one matrix."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.grading.block import Block
from escnn_soft.grading.frame import ChannelFrame

__all__ = ["Arrangement", "AsMatrix", "OneByOne", "Together", "Unit", "arranged"]

_SMALL = 2**20
"""Numbers of a weight up to which gathering them costs less than one call a block."""
_ROWS = 2**23
"""Numbers of the rows of all blocks up to which they are lined up: 32 MB, for all layers of a geometry."""
_SMALLEST = 512
"""Numbers of a weight up to which one matrix makes it of its coefficients."""
_FUSED = 256
"""Largest matrix between two irreps, d_out * S * d_in, that is formed for fewer pairs of copies than it has rows."""


@dataclass(frozen=True, eq=False)
class Unit:
    """What is multiplied at once: a block, or some of one shape, padded with rows of zeros.

    Attributes:
        blocks: those that are multiplied.
        rows: their basis kernels.  # shape: (..., D, d_out * S * d_in)
        levels: level of each row; 0 for the padding.  # shape: (..., D)
        pairs: pairs of copies in each block.
    """

    blocks: tuple[Block, ...]
    rows: Tensor
    levels: Tensor
    pairs: int

    @property
    def dual(self) -> Tensor:
        """What tells the coefficients, (..., d_out * S * d_in, D)."""
        if all(block.basis.orthogonal for block in self.blocks):
            return self.rows.mT
        return self.blocks[0].dual if self.rows.dim() == 2 else self._duals

    @cached_property
    @lasting()
    def _duals(self) -> Tensor:
        return torch.stack([_filled(block.dual, 1, self.rows.shape[-2]) for block in self.blocks])

    def row_gains(self, gains: Tensor | None) -> Tensor | None:
        """The gain of each row, (..., D), from one a level."""
        return None if gains is None else gains[self.levels]

    def through(self, piece: Tensor, gains: Tensor | None) -> Tensor:
        """Weights (..., pairs, d_out * S * d_in), from coefficients (..., pairs, D) times the gains of their rows."""
        if gains is None:
            return piece @ self.rows
        if self._few:
            return (piece * gains.unsqueeze(-2)) @ self.rows
        return piece @ (gains.unsqueeze(-1) * self.rows)

    def onto(self, part: Tensor, gains: Tensor | None) -> Tensor:
        """The adjoint of :meth:`through`."""
        if gains is None:
            return part @ self.rows.mT
        if self._few:
            return (part @ self.rows.mT) * gains.unsqueeze(-2)
        return part @ (gains.unsqueeze(-1) * self.rows).mT

    def onto_both(self, part: Tensor, piece: Tensor, gains: Tensor) -> tuple[Tensor, Tensor]:
        """The derivatives of :meth:`through` in both arguments, for a gradient: (..., pairs, D) and (..., D)."""
        moved = part @ self.rows.mT
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
        if size > _FUSED and size > self.pairs:
            return None
        return self.dual @ (gains.unsqueeze(-1) * self.rows)

    @property
    def _few(self) -> bool:
        """Whether there are fewer coefficients than numbers in the rows."""
        return self.pairs < self.rows.shape[-1]


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


class Together(Arrangement):
    """A unit a shape, with one gather before the products and one behind them: the matrices are small.

    Args:
        blocks: the same, one by one.
    """

    def __init__(self, blocks: OneByOne) -> None:
        self.frame_out, self.frame_in, self.points = blocks.frame_out, blocks.frame_in, blocks.points
        kinds: dict[object, list[int]] = {}
        for i, block in enumerate(blocks.blocks):
            kinds.setdefault(block.copies, []).append(i)
        self.units = tuple(_padded([blocks.blocks[i] for i in members]) for members in kinds.values())
        order = [i for members in kinds.values() for i in members]
        most = [unit.rows.shape[-2] for unit, members in zip(self.units, kinds.values(), strict=True) for _ in members]
        device = blocks.units[0].rows.device
        self._taken, self._given = (t.to(device) for t in _coefficients(blocks, order, most))
        self._placed, self._found = (t.to(device) for t in _entries(blocks, order))

    def pieces(self, coefficients: Tensor) -> list[Tensor]:
        """Coefficients; any behind the last row of a block, where rows are zero."""
        return self._split(coefficients.index_select(0, self._taken), -2)

    def coefficients(self, pieces: list[Tensor]) -> Tensor:
        """What belongs to rows that there are."""
        return torch.cat([piece.reshape(-1) for piece in pieces]).index_select(0, self._given)

    def joint_pieces(self, split: Split, first: Tensor, others: Tensor) -> list[Tensor]:
        """In one gather."""
        return self._split(torch.cat([first, others]).index_select(0, self._joint(split)[0]), -2)

    def split(self, split: Split, pieces: list[Tensor]) -> tuple[Tensor, ...]:
        """In one gather."""
        numbers = torch.cat([piece.reshape(-1) for piece in pieces])
        return numbers.index_select(0, self._joint(split)[1]).split(split.sizes)

    def _joint(self, split: Split) -> tuple[Tensor, Tensor]:
        """Where each padded coefficient is taken from, and where each coefficient then is."""
        kept: tuple[Split, tuple[Tensor, Tensor]] | None = self.__dict__.get("_kept")
        if kept is None or kept[0] is not split:
            with lasting():
                there, back = (places.to(self._taken.device) for places in split.places)
                both = there[self._taken.long()].int(), self._given[back]
                kept = self.__dict__["_kept"] = split, both
        return kept[1]

    def weight(self, parts: list[Tensor]) -> Tensor:
        """Entries sorted by input field and output field, and out of the irreps of the fields."""
        m, n, s = self.frame_out.size, self.frame_in.size, self.points
        entries = torch.cat([part.reshape(-1) for part in parts]).index_select(0, self._placed)
        weight = self.frame_in.mixed(entries.reshape(n, m * s)).reshape(n, m, s).transpose(0, 1)
        weight = self.frame_out.mixed(weight.reshape(m, n * s)).reshape(m, n, s)
        return self.frame_in.sorted_out(self.frame_out.sorted_out(weight, 0), 1)

    def parts(self, weight: Tensor) -> list[Tensor]:
        """The same backwards."""
        m, n, s = self.frame_out.size, self.frame_in.size, self.points
        weight = self.frame_in.sorted_in(self.frame_out.sorted_in(weight, 0), 1)
        weight = self.frame_out.unmixed(weight.reshape(m, n * s)).reshape(m, n, s).transpose(0, 1)
        entries = self.frame_in.unmixed(weight.reshape(n, m * s)).reshape(-1)
        return self._split(entries.index_select(0, self._found), -1)

    def _split(self, numbers: Tensor, dim: int) -> list[Tensor]:
        shapes = [(len(unit.rows), unit.pairs, unit.rows.shape[dim]) for unit in self.units]
        parts = numbers.split([count * pairs * columns for count, pairs, columns in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


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
        rows, size = blocks.blocks[0].rows, math.prod(self._shape)
        dim = sum(math.prod(block.shape) for block in blocks.blocks)

        def synthesis(coefficients: Tensor) -> Tensor:
            pieces = zip(blocks.units, blocks.pieces(coefficients), strict=True)
            return blocks.weight([unit.through(piece, None) for unit, piece in pieces]).reshape(-1)

        def analysis(weight: Tensor) -> Tensor:
            parts = zip(blocks.units, blocks.parts(weight.view(self._shape)), strict=True)
            return blocks.coefficients([part @ unit.dual for unit, part in parts])

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


@lasting()
def arranged(blocks: OneByOne) -> Arrangement:
    """The arrangement that takes the least time; of one kind for all bands of a transform.

    Args:
        blocks: the blocks, one by one.

    Returns:
        One matrix for the smallest weights, else as :func:`stacked`.
    """
    return AsMatrix(blocks) if _size(blocks) <= _SMALLEST else stacked(blocks)


@lasting()
def stacked(blocks: OneByOne) -> OneByOne | Together:
    """That which takes the least time among those whose units are blocks.

    Args:
        blocks: the blocks, one by one.

    Returns:
        All of one shape at once if the weight and the rows are small; in weights of more than some 4 MB, moving each
        number by itself would take longer than what a call a block costs.
    """
    rows = sum(block.basis.rows.numel() for block in blocks.blocks)
    return blocks if len(blocks.blocks) == 1 or _size(blocks) > _SMALL or rows > _ROWS else Together(blocks)


def _size(blocks: OneByOne) -> int:
    return blocks.frame_out.size * blocks.frame_in.size * blocks.points


def _padded(blocks: Sequence[Block]) -> Unit:
    """Blocks of one shape as one unit."""
    most = max(len(block.rows) for block in blocks)
    rows, levels = (
        [_filled(t, 0, most) for t in each] for each in zip(*((b.rows, b.level) for b in blocks), strict=True)
    )
    return Unit(tuple(blocks), torch.stack(rows), torch.stack(levels), blocks[0].shape[0])


def _filled(t: Tensor, dim: int, size: int) -> Tensor:
    """A tensor with zeros behind it along a dimension."""
    shape = list(t.shape)
    shape[dim] = size - t.shape[dim]
    return torch.cat([t, t.new_zeros(shape)], dim=dim)


def _coefficients(blocks: OneByOne, order: Sequence[int], most: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where each padded coefficient is taken from, blocks in an order; where each coefficient then is."""
    shapes = [block.shape for block in blocks.blocks]
    starts = torch.tensor([0, *(pairs * rows for pairs, rows in shapes)]).cumsum(0).tolist()
    taken, real = [], []
    for i, columns in zip(order, most, strict=True):
        (pairs, rows), column = shapes[i], torch.arange(columns)
        inside = (column < rows).expand(pairs, columns)
        taken.append(torch.where(inside, starts[i] + torch.arange(pairs)[:, None] * rows + column, 0).flatten())
        real.append(inside.flatten())
    padded, there = torch.cat(taken), torch.cat(real)
    given = torch.empty(starts[-1], dtype=torch.long)
    given[padded[there]] = torch.arange(len(padded))[there]
    return padded.int(), given.int()


def _entries(blocks: OneByOne, order: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where each entry (in, out, S) of a weight between irreps lies behind blocks in an order, and back."""
    m, n, s = blocks.frame_out.size, blocks.frame_in.size, blocks.points
    sizes = [unit.pairs * unit.rows.shape[1] for unit in blocks.units]
    parts = dict(zip(order, torch.arange(m * n * s).split([sizes[i] for i in order]), strict=True))
    places = [parts[i].view(unit.pairs, -1) for i, unit in enumerate(blocks.units)]
    weight = blocks.between_irreps(places).view(m, s, n)
    to_out, to_in = (frame.to_fields.cpu() for frame in (blocks.frame_out, blocks.frame_in))
    placed = weight[to_out][:, :, to_in].permute(2, 0, 1).flatten()
    return placed.int(), placed.argsort().int()
