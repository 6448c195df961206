"""Arrangements whose coefficients are gathered from those block by block."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.grading.arrangement import Arrangement, Split

__all__ = ["Gathered"]


class Gathered(Arrangement):
    """Coefficients unit by unit in one gather, and back in another."""

    def _gather(self, taken: Tensor, given: Tensor) -> None:
        """Take note where each coefficient in the units is taken from, block by block, and where each then is."""
        device = self.units[0].rows.device
        self._taken, self._given = taken.int().to(device), given.int().to(device)

    def pieces(self, coefficients: Tensor) -> list[Tensor]:
        """Coefficients; any behind the last row of a block, where rows are zero."""
        return self._in_units(coefficients.index_select(0, self._taken), -2)

    def coefficients(self, pieces: list[Tensor]) -> Tensor:
        """What belongs to rows that there are."""
        return _joined(pieces).index_select(0, self._given)

    def joint_pieces(self, split: Split, first: Tensor, others: Tensor) -> list[Tensor]:
        """In one gather."""
        return self._in_units(torch.cat([first, others]).index_select(0, self._joint(split)[0]), -2)

    def prepare(self, split: Split) -> None:
        """Where each coefficient is."""
        self._joint(split)

    def split(self, split: Split, pieces: list[Tensor]) -> tuple[Tensor, ...]:
        """In one gather."""
        return _joined(pieces).index_select(0, self._joint(split)[1]).split(split.sizes)

    def _joint(self, split: Split) -> tuple[Tensor, Tensor]:
        """Where each padded coefficient is taken from, and where each coefficient then is."""
        kept: tuple[Split, tuple[Tensor, Tensor]] | None = self.__dict__.get("_kept")
        if kept is None or kept[0] is not split:
            with lasting():
                there, back = (places.to(self._taken.device) for places in split.places)
                both = there[self._taken.long()].int(), self._given[back]
                kept = self.__dict__["_kept"] = split, both
        return kept[1]

    def _in_units(self, numbers: Tensor, dim: int) -> list[Tensor]:
        """Numbers unit by unit, as many in a row as the units' rows have along a dimension."""
        shapes = [(*unit.rows.shape[:-2], unit.pairs, unit.rows.shape[dim]) for unit in self.units]
        if len(shapes) == 1:
            return [numbers.view(shapes[0])]
        parts = numbers.split([math.prod(shape) for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _joined(pieces: list[Tensor]) -> Tensor:
    return pieces[0].reshape(-1) if len(pieces) == 1 else torch.cat([piece.reshape(-1) for piece in pieces])
