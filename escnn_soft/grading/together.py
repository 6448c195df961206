"""All blocks of one shape at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from escnn_soft.grading.arrangement import OneByOne
from escnn_soft.grading.block import Block
from escnn_soft.grading.factors import dense
from escnn_soft.grading.gathered import Gathered
from escnn_soft.grading.unit import Unit, filled

__all__ = ["Together"]


class Together(Gathered):
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
        self._gather(*_coefficients(blocks, order, most))
        self._placed, self._found = (t.to(blocks.units[0].rows.device) for t in _entries(blocks, order))

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
        return self._in_units(entries.index_select(0, self._found), -1)


def _padded(blocks: Sequence[Block]) -> Unit:
    """Blocks of one shape as one unit."""
    most = max(block.shape[1] for block in blocks)
    rows, levels = (
        [filled(t, 0, most) for t in each] for each in zip(*((dense(b.rows), b.level) for b in blocks), strict=True)
    )
    return Unit(tuple(blocks), torch.stack(rows), torch.stack(levels), blocks[0].shape[0])


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
