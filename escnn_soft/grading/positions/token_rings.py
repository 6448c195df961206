"""Circular harmonics on rings about the centre of a grid, for groups that do not map the grid to itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from escnn.gspaces import GSpace2D
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.functions import Grid, mirror_axis, unit_energy
from escnn_soft.grading.levels import Level
from escnn_soft.grading.positions.grid_functions import GridFunctions
from escnn_soft.groups import PlanarGroup, fibre_group

__all__ = ["GradedRings", "graded_rings"]

Matrix = NDArray[np.float64]

FREQUENCY_PER_RADIUS = 1.5
"""Highest frequency on a ring, per unit of its radius; at pi the points would not tell the harmonics apart."""

CORNER_FREQUENCY = 1
"""Highest frequency on rings that reach into the corners only."""


@dataclass(frozen=True, eq=False)
class GradedRings(GridFunctions):
    r"""Functions on a grid, graded by the continuous functions that fit them best.

    f(p) = sum_r hat_r(|p|) sum_j (a_rj cos j phi + b_rj sin j phi) + remainder: on rings of distance 1, joined
    linearly, so that constants belong to frequency 0. The fit is the least-squares one; the group has no law on the
    remainder.

    Attributes:
        levels: the irreps of the harmonics, then the remainder.
        functions: sampled harmonics.  # shape: (points, functions)
        fit: their least-squares inverse.  # shape: (functions, points)
        level: level of each.  # shape: (functions,)
        before: entries before the grid's, which are left alone.
        after: entries after the grid's, which are left alone.
        lead: product of the sizes before the tokens.
    """

    levels: tuple[Level, ...]
    functions: Tensor
    fit: Tensor
    level: Tensor
    before: int
    after: int
    lead: int

    @property
    def points(self) -> int:
        """Number of the grid's points."""
        return self.functions.shape[0]

    def _change(self, grid: Tensor, gains: Tensor) -> Tensor:
        # what the fit leaves has the last gain: (g_last - 1) (x - B c) + B (g - 1) c
        less = (gains[self.level] - gains[-1])[:, None] * (self.fit @ grid)
        return (gains[-1] - 1) * grid + self.functions @ less

    def _energies(self, grid: Tensor) -> Tensor:
        c = self.fit @ grid
        parts = [self.functions[:, self.level == i] @ c[:, self.level == i] for i in range(len(self.levels) - 1)]
        parts.append(grid - self.functions @ c)
        return torch.stack([part.square().sum() for part in parts])

    def to(self, device: torch.device, dtype: torch.dtype) -> GradedRings:
        """The splitting on a device in a dtype."""
        return replace(
            self,
            functions=self.functions.to(device, dtype),
            fit=self.fit.to(device, dtype),
            level=self.level.to(device),
        )


def graded_rings(
    gspace: GSpace2D,
    sides: tuple[int, int],
    before: int = 0,
    after: int = 0,
    lead: int = 1,
    trail: int = 1,
    *,
    order: Tensor | None = None,
) -> GradedRings:
    """Grade the functions on a grid by the irreps of a group of the plane.

    Args:
        gspace: gspace on the plane.
        sides: (rows, columns).
        before: entries before the grid's, which are left alone.
        after: entries after the grid's, which are left alone.
        lead: product of the sizes before the tokens.
        trail: product of the sizes after the tokens.
        order: the points as they are stored, each by its number row by row; None for row by row.

    Returns:
        The splitting.
    """
    group = fibre_group(gspace)
    assert isinstance(group, PlanarGroup)
    irreps, functions, fit = _fitted(group, mirror_axis(gspace, group), sides)
    if order is not None:
        functions, fit = functions[order], fit[:, order]
    keys = sorted({(group.violation(irrep), irrep) for irrep in irreps})
    number = {irrep: i for i, (_, irrep) in enumerate(keys)}
    width = lead * trail
    dims = [irreps.count(irrep) * width for _, irrep in keys]
    dims[0] += (before + after) * width
    levels = [
        Level(group.group, irrep, sigma, False, sigma, dim) for (sigma, irrep), dim in zip(keys, dims, strict=True)
    ]
    rest = (functions.shape[0] - functions.shape[1]) * width
    levels.append(Level(group.group, None, group.worst_violation, True, 1.0 + keys[-1][0], rest))
    level = torch.tensor([number[irrep] for irrep in irreps])
    return GradedRings(tuple(levels), functions, fit, level, before, after, lead)


@lru_cache(maxsize=64)
def _fitted(group: PlanarGroup, axis: float, sides: tuple[int, int]) -> tuple[list[IrrepId], Tensor, Tensor]:
    """Irreps of the functions, the functions, and their least-squares inverse, by the normal equations."""
    irreps, columns = [], []
    for frequency, sampled in _harmonics(Grid(2, sides).points, axis, (min(sides) - 1) / 2):
        for irrep, a in group.fold(frequency) if frequency else ((group.trivial, np.ones((1, 1))),):
            columns.append(sampled @ a)
            irreps += [irrep] * a.shape[1]
    functions = np.concatenate(columns, axis=1)
    # The condition number of the functions stays below 20, so that squaring it loses three digits of sixteen.
    fit = np.linalg.solve(functions.T @ functions, functions.T)
    return irreps, torch.from_numpy(functions), torch.from_numpy(fit)


def _harmonics(points: Matrix, axis: float, half: float) -> list[tuple[int, Matrix]]:
    """Frequencies and sampled pairs (cos, sin) on each ring, angles counted from an axis."""
    radius, angle = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0]) - axis
    first, last = radius.min(), radius.max()
    count = math.ceil(last - first - 1e-9)
    rings = first + (last - first) * np.arange(count + 1) / max(count, 1)
    found: list[tuple[int, Matrix]] = []
    for ring in rings:
        hat = np.clip(1 - np.abs(radius - ring) / max((last - first) / max(count, 1), 1e-9), 0.0, None)
        top = math.floor(FREQUENCY_PER_RADIUS * ring) if ring <= half + 0.5 else CORNER_FREQUENCY * (half > 0)
        found.append((0, unit_energy(hat[:, None])))
        hat = np.where(radius > 1e-9, hat, 0.0)
        for j in range(1, top + 1):
            pair = np.stack([hat * np.cos(j * angle), hat * np.sin(j * angle)], axis=1)
            found.append((j, unit_energy(pair)))
    return found
