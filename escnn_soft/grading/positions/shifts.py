"""Shifts of a grid around its edges: functions on it are graded by their waves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from escnn.group import Group, cyclic_group, direct_product
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.grading.levels import Level
from escnn_soft.grading.positions.grid_functions import GridFunctions

__all__ = ["GradedShifts", "TokenShifts", "graded_shifts"]

_Key = tuple[float, IrrepId]
"""(sigma, irrep of C_rows x C_columns): sorts waves along the dial."""


@dataclass(frozen=True)
class TokenShifts:
    """The shifts of a token grid by whole tokens, around its edges: C_rows x C_columns.

    Stands where a gspace stands for rotations and reflections. An image that moves by a multiple of the patch size,
    around its edges, shifts the tokens.
    """


@dataclass(frozen=True, eq=False)
class GradedShifts(GridFunctions):
    r"""Functions on a grid, graded by their waves: the level of k holds the waves e^(i k p) and e^(-i k p).

    Its violation is that of C_rows and C_columns together, sqrt(sum_a ((N_a / pi) sin(pi k_a / N_a))^2), which tends to
    the length of k; the filter multiplies a Fourier transform.

    Attributes:
        levels: the constant functions, then the waves by their violation.
        sides: (rows, columns) of the grid.
        before: entries before the grid's, which are left alone.
        after: entries after the grid's, which are left alone.
        lead: product of the sizes before the tokens.
        level: level of each wave of a real Fourier transform.  # shape: (rows, columns // 2 + 1)
        share: squared norm that each wave stands for.  # shape: (rows, columns // 2 + 1)
    """

    levels: tuple[Level, ...]
    sides: tuple[int, int]
    before: int
    after: int
    lead: int
    level: Tensor
    share: Tensor

    @property
    def points(self) -> int:
        """Number of the grid's points."""
        return self.sides[0] * self.sides[1]

    def _change(self, grid: Tensor, gains: Tensor) -> Tensor:
        less = self._waves(grid) * (gains - 1).to(self.share)[self.level][..., None]
        return torch.fft.irfft2(less, s=self.sides, dim=(1, 2)).flatten(1, 2).to(grid)

    def _energies(self, grid: Tensor) -> Tensor:
        energies = self._waves(grid).abs().square().sum((0, 3)) * self.share
        return energies.new_zeros(len(self.levels)).index_add(0, self.level.flatten(), energies.flatten())

    def _waves(self, grid: Tensor) -> Tensor:
        """Fourier coefficients, (lead, rows, half of the columns, trail), in a dtype of the FFT."""
        image = grid.unflatten(1, self.sides).to(torch.promote_types(grid.dtype, torch.float32))
        return torch.fft.rfft2(image, dim=(1, 2))

    def to(self, device: torch.device, dtype: torch.dtype) -> GradedShifts:
        """The splitting on a device in a dtype."""
        return replace(self, level=self.level.to(device), share=self.share.to(device, dtype))


def graded_shifts(
    sides: tuple[int, int], before: int = 0, after: int = 0, lead: int = 1, trail: int = 1
) -> GradedShifts:
    """Grade the functions on a grid by its shifts; arguments as for :func:`graded_rings`."""
    keys, numbers, share = _waves(sides)
    group = _torus(sides)
    dims = np.bincount(numbers.ravel(), weights=(share * sides[0] * sides[1]).ravel()).round().astype(int)
    levels = []
    for i, (sigma, irrep) in enumerate(keys):
        dim = (int(dims[i]) + (before + after if i == 0 else 0)) * lead * trail
        levels.append(Level(group, irrep, sigma, False, sigma, dim))
    return GradedShifts(tuple(levels), sides, before, after, lead, torch.from_numpy(numbers), torch.from_numpy(share))


@lru_cache(maxsize=64)
def _torus(sides: tuple[int, int]) -> Group:
    return direct_product(cyclic_group(sides[0]), cyclic_group(sides[1]))


@lru_cache(maxsize=64)
def _waves(sides: tuple[int, int]) -> tuple[list[_Key], NDArray[np.int64], NDArray[np.float64]]:
    """(sigma, irrep) of each level, the level of each wave, and the squared norm that the wave stands for."""
    rows, columns = sides
    waves: dict[_Key, list[tuple[int, int]]] = {}
    share = np.full((rows, columns // 2 + 1), 2.0)
    for k, l in product(range(rows), range(columns // 2 + 1)):
        if l == 0 or 2 * l == columns:
            share[k, l] = 1.0  # its partner -k is in the transform too
        folded = min(k, rows - k)
        part = int(folded != k and 0 < 2 * l < columns)  # part 1 of escnn's outer product turns with k - l
        sigma = math.hypot(_chord(folded, rows), _chord(l, columns))
        waves.setdefault((sigma, ((folded,), (l,), part)), []).append((k, l))
    keys = sorted(waves)
    level = np.zeros(share.shape, dtype=np.int64)
    for i, key in enumerate(keys):
        level[tuple(zip(*waves[key], strict=True))] = i
    return keys, level, share / (rows * columns)


def _chord(k: int, n: int) -> float:
    """Violation of the frequency k of C_n."""
    return n / math.pi * math.sin(math.pi * k / n)
