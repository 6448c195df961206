"""All that a weight has between one field and another as one matrix."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from escnn_soft.grading.arrangement import OneByOne
from escnn_soft.grading.as_matrix import AsMatrix
from escnn_soft.grading.block import Block
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.gathered import Gathered

__all__ = ["ByFields"]


class ByFields(Gathered):
    """One unit, for small fields of one kind to those of one kind: the change of basis between two of them.

    Args:
        blocks: the same, one by one.
    """

    def __init__(self, blocks: OneByOne) -> None:
        (self._out, m), (self._in, n) = (_fields(frame) for frame in (blocks.frame_out, blocks.frame_in))
        self._size = m, n, blocks.points
        frames = _single(blocks.frame_out), _single(blocks.frame_in)
        copies = [(o[1], o[2], i[1], i[2]) for o in frames[0].irreps for i in frames[1].irreps]
        each = zip(blocks.blocks, copies, strict=True)
        single = tuple(Block(block.basis, block.span, block.rows, block.level, kind) for block, kind in each)
        (unit,) = AsMatrix(OneByOne(single, *frames, blocks.points)).units
        self.units = (replace(unit, pairs=self._out * self._in),)
        taken = _coefficients(blocks, single, self._out, self._in)
        self._gather(taken, taken.argsort())

    def weight(self, parts: list[Tensor]) -> Tensor:
        """Fields side by side."""
        m, n, s = self._size
        pairs = parts[0].view(self._out, self._in, m, n, s).transpose(1, 2)
        return pairs.reshape(self._out * m, self._in * n, s)

    def parts(self, weight: Tensor) -> list[Tensor]:
        """Apart again."""
        m, n, s = self._size
        pairs = weight.reshape(self._out, m, self._in, n * s).transpose(1, 2)
        return [pairs.reshape(self._out * self._in, m * n * s)]


def _fields(frame: ChannelFrame) -> tuple[int, int]:
    """Number and size of the fields, which are of one kind."""
    ((count, size, _),) = frame.kinds
    return count, size


def _single(frame: ChannelFrame) -> ChannelFrame:
    """The frame of the first field."""
    ((count, size, q),) = frame.kinds
    irreps = tuple((irrep, copies // count, d) for irrep, copies, d in frame.irreps)
    places = frame.to_fields[:size].argsort().argsort()  # copies of the first field come first
    return ChannelFrame(size, irreps, places, None, ((1, size, q),))


def _coefficients(blocks: OneByOne, single: tuple[Block, ...], out: int, inn: int) -> Tensor:
    """Where each coefficient between two fields is, (output fields, input fields, coefficients) flattened."""
    found, start = [], 0
    for whole, block in zip(blocks.blocks, single, strict=True):
        copies_out, _, copies_in, _ = block.copies
        pairs, directions = whole.shape
        places = start + torch.arange(pairs * directions).view(out, copies_out, inn, copies_in * directions)
        found.append(places.transpose(1, 2).flatten(2))
        start += pairs * directions
    return torch.cat(found, dim=2).flatten()
