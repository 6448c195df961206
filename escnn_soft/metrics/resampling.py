"""Images moved by isometries that do not map the pixel grid to itself: by interpolation, within a disc."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["INTERPOLATIONS", "disc", "interior", "resample"]

INTERPOLATIONS = ("bilinear", "bicubic")

_TAPER = 0.2
"""Share of the disc's radius over which the window falls from 1 to 0: a sharp edge would itself be resampled badly."""

_MARGIN = 1.0
"""Pixels between the disc and the border, which interpolation would mix with what lies beyond."""


def resample(x: Tensor, matrix: NDArray[np.float64], mode: str) -> Tensor:
    """x(A^-1 p) = sum over pixels q of x(q) k(A^-1 p - q), k = k_1 x k_1; p = 0 is the centre, y points upwards.

    ``nearest`` is k_1 = 1 on half a pixel around 0, ``bilinear`` the hat, ``bicubic`` Keys' cubic with a = -1/2, the
    only one that reproduces quadratic functions. (torch's ``grid_sample`` has a = -3/4 and errs several times as much.)

    Source: Keys, "Cubic convolution interpolation for digital image processing" (1981), equation 15.

    Args:
        x: images.  # shape: (n, channels, height, width)
        matrix: A, an isometry of the plane.  # shape: (2, 2)
        mode: ``bilinear``, ``bicubic`` or ``nearest``; what lies outside the image is 0.

    Returns:
        The images moved.  # shape: (n, channels, height, width)

    Example:
        >>> quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
        >>> resample(torch.arange(4.0).view(1, 1, 2, 2), quarter, "bilinear")[0, 0].round()
        tensor([[1., 3.],
                [0., 2.]])
    """
    height, width = x.shape[-2:]
    like = torch.zeros((), dtype=torch.float64, device=x.device)
    source = _points(height, width, like) @ torch.from_numpy(np.linalg.inv(matrix)).to(like).T
    row, column = (height - 1) / 2 - source[..., 1], source[..., 0] + (width - 1) / 2
    kernel, reach = _KERNELS[mode]
    out = torch.zeros_like(x)
    for i, j in product(range(1 - reach, reach + 1), repeat=2):
        r, c = row.floor().long() + i, column.floor().long() + j
        weight = kernel(row - r) * kernel(column - c) * ((r >= 0) & (r < height) & (c >= 0) & (c < width))
        out += x[..., r.clamp(0, height - 1), c.clamp(0, width - 1)] * weight.to(x)
    return out


def _box(t: Tensor) -> Tensor:
    return ((t >= -0.5) & (t < 0.5)).to(t)


def _hat(t: Tensor) -> Tensor:
    return (1 - t.abs()).clamp_min(0)


def _keys(t: Tensor) -> Tensor:
    t = t.abs()
    inner, outer = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return torch.where(t <= 1, inner, torch.where(t <= 2, outer, 0.0))


_KERNELS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "nearest": (_box, 1),
    "bilinear": (_hat, 1),
    "bicubic": (_keys, 2),
}
"""k_1, and how many pixels it reaches to either side."""


def disc(x: Tensor) -> Tensor:
    """Images under a window that no rotation moves off them: 1 in a disc, a cosine over the outer fifth, 0 beyond."""
    distance, radius = _distance(x)
    ramp = ((radius - distance) / (_TAPER * radius)).clamp(0, 1)
    return x * (0.5 - 0.5 * torch.cos(torch.pi * ramp))


def interior(x: Tensor) -> Tensor:
    """Where the window of :func:`disc` is 1: boolean, (height, width)."""
    distance, radius = _distance(x)
    return distance <= (1 - _TAPER) * radius


def _distance(x: Tensor) -> tuple[Tensor, float]:
    height, width = x.shape[-2:]
    like = x if x.is_floating_point() else x.new_zeros((), dtype=torch.float64)
    return _points(height, width, like).norm(dim=-1), min(height, width) / 2 - _MARGIN


def _points(height: int, width: int, like: Tensor) -> Tensor:
    """Coordinates (x, y) of the pixels, (height, width, 2)."""
    x = torch.arange(width).to(like) - (width - 1) / 2
    y = (height - 1) / 2 - torch.arange(height).to(like)
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
