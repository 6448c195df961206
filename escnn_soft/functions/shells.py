"""Circular harmonics on every distance that pixels have from the centre; frequency 0 is all that is isotropic."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from escnn_soft.functions.grid import Grid
from escnn_soft.functions.harmonics import Harmonic

__all__ = ["shell_harmonics"]

_WIDTH = 1e-3
"""Of a ring that holds the pixels of one distance and no others, in pixels."""

_HIGHEST = 3
"""Highest frequency: a grid has four-fold symmetry, so that 4 is no longer orthogonal to functions of the distance."""

_INDEPENDENT = 0.3
"""Least singular value of harmonics on a shell, relative to that of orthonormal ones, that tells them apart."""


@lru_cache(maxsize=64)
def shell_harmonics(kernel_size: int, dilation: int = 1) -> tuple[Harmonic, ...]:
    """One thin ring for each distance, with all the frequencies that its pixels tell apart.

    Args:
        kernel_size: pixels along a side, k.
        dilation: spacing of the pixels.

    Returns:
        Rings and frequencies; frequency 0 alone spans every function of the distance.
    """
    x, y = Grid(2, kernel_size, dilation).points.T
    distance = np.round(np.hypot(x, y), 9)
    return tuple(
        Harmonic(float(radius), _WIDTH, frequency)
        for radius in np.unique(distance)
        for frequency in range(_told_apart(np.arctan2(y, x)[distance == radius]) + 1)
    )


def _told_apart(angles: NDArray[np.float64]) -> int:
    """Highest frequency up to which circular harmonics are well independent on some points."""
    columns, highest = [np.ones(len(angles))], 0
    while highest < _HIGHEST and len(columns) + 2 <= len(angles):
        phase = (highest + 1) * angles
        columns += [np.sqrt(2) * np.cos(phase), np.sqrt(2) * np.sin(phase)]
        if np.linalg.svd(np.stack(columns), compute_uv=False)[-1] < _INDEPENDENT * np.sqrt(len(angles)):
            break
        highest += 1
    return highest
