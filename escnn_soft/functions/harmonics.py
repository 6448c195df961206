"""Rings of Gaussian profile times circular or spherical harmonics: the functions that escnn's kernels are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from escnn_soft.linalg import RANK_TOLERANCE

__all__ = ["Harmonic", "unit_energy"]

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Harmonic:
    """A ring of Gaussian profile times a harmonic: exp(-(|x| - radius)^2 / (2 width^2)) Y_j(x / |x|).

    On the plane Y_j is the pair e^(i j phi), in space the 2 j + 1 spherical harmonics of degree j.
    """

    radius: float
    width: float
    frequency: int  # j

    def profile(self, points: Matrix) -> Matrix:
        """The ring at some points, (points,); only frequency 0 has a value at the origin."""
        radius = np.sqrt(np.sum(points**2, axis=1))
        profile = np.exp(-0.5 * ((radius - self.radius) / self.width) ** 2)
        return profile if self.frequency == 0 else np.where(radius > 1e-9, profile, 0.0)


def unit_energy(functions: Matrix) -> Matrix:
    """Functions scaled to unit mean energy of the columns; zero if they miss all points."""
    energy = float(np.mean(np.sum(functions**2, axis=0)))
    return functions / math.sqrt(energy) if energy > RANK_TOLERANCE**2 else np.zeros_like(functions)
