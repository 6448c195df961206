"""Tables of which a part is functions on a grid, and the rest is left alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor

from escnn_soft.grading.levels import Level

__all__ = ["GridFunctions"]

_Functions = TypeVar("_Functions", bound="GridFunctions")


class GridFunctions(ABC):
    """A splitting of the functions on a grid into levels; what stands before and after the grid is in the first.

    Attributes:
        levels: levels in the order of the dial.
        before: entries before the grid's, which are left alone.
        after: entries after the grid's, which are left alone.
        lead: product of the sizes before the tokens.
    """

    levels: tuple[Level, ...]
    before: int
    after: int
    lead: int

    @property
    def dial(self) -> Tensor:
        """Place of each level on the dial, (levels,) in float64."""
        return torch.tensor([level.dial for level in self.levels], dtype=torch.float64)

    @property
    @abstractmethod
    def points(self) -> int:
        """Number of the grid's points."""

    @abstractmethod
    def _change(self, grid: Tensor, gains: Tensor) -> Tensor:
        """Sum of (gain - 1) * part of the functions, (lead, points, trail)."""

    @abstractmethod
    def _energies(self, grid: Tensor) -> Tensor:
        """Squared norm of the functions' part in each level, (levels,)."""

    def filtered(self, weight: Tensor, gains: Tensor) -> Tensor:
        """As :meth:`Grading.filtered`; the weight's sizes multiply to lead * (before + points + after) * trail."""
        first, grid, last = self._split(weight)
        parts = [(gains[0] - 1) * first, self._change(grid, gains), (gains[0] - 1) * last]
        return weight + torch.cat(parts, dim=1).reshape(weight.shape)

    def energies(self, weight: Tensor) -> Tensor:
        """Squared norm of a weight's part in each level, (levels,)."""
        first, grid, last = self._split(weight)
        energies = self._energies(grid)
        energies[0] += first.square().sum() + last.square().sum()
        return energies

    def _split(self, weight: Tensor) -> list[Tensor]:
        """What stands before the grid, the grid and what stands after it, each (lead, tokens, trail)."""
        sizes = [self.before, self.points, self.after]
        return list(weight.reshape(self.lead, sum(sizes), -1).split(sizes, dim=1))

    def __deepcopy__(self: _Functions, memo: dict[int, object]) -> _Functions:
        """It never changes, so copies of a module share it."""
        return self
