"""Running a model on other inputs than x: with other numbers, with swapped sides, and around x."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from escnn_soft.certification.fact import sample_norms
from escnn_soft.certification.tensor_action import Action

__all__ = ["around", "other_values", "reshaping_rows"]

_SCALES = (1.0, 30.0)
"""Sizes of other values, in units of those that a claim is about."""
_TINY = 1e-3
"""Size below which numbers count as none."""
_INSIDE = 0.99
"""Distance of points around x, in units of the radius."""


def other_values(x: Tensor, radius: float) -> Iterator[Tensor]:
    """Random numbers of the shape of x, of its size or the radius', whichever is larger, and of many times that.

    Where both are tiny the size is 1: on numbers that vanish a model hides what it does.

    Args:
        x: the input.
        radius: how far from x the inputs may lie that the claim is for.

    Yields:
        An input of each size.
    """
    typical = max(float(x.double().square().mean().sqrt()), radius / math.sqrt(x[0].numel()))
    typical = typical if typical > _TINY else 1.0
    largest = math.sqrt(torch.finfo(x.dtype).max)  # whose products do not overflow
    draw = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for scale in _SCALES:
        yield (min(scale * typical, largest) * draw).to(x)


def around(x: Tensor, radius: float) -> Iterator[Tensor]:
    """Points at almost the distance of the radius: in a random direction, along constants, and at a single pixel.

    A radius so small that rounding takes them out, or so large that they overflow, has none.

    Args:
        x: the input.
        radius: how far from x the inputs may lie that the claim is for.

    Yields:
        Each of them.
    """
    draw = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pixel = torch.zeros(x.shape, dtype=torch.float64)
    pixel.view(*x.shape[:2], -1)[..., 0] = 1.0
    for direction in (draw, torch.ones_like(draw), pixel):
        lengths = direction.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
        y = (x.double().cpu() + _INSIDE * radius * direction / lengths).to(x)
        if bool((sample_norms(y.double() - x.double()) <= radius).all()):
            yield y


def reshaping_rows(action: Action, x: Tensor) -> list[list[int]]:
    """The rows of elements that swap sides of different lengths of x, together where they give it the same shape."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row, element in enumerate(action.elements):
        shape = action.moved_shape(row, x.shape) if element is not None and action.obstacle(row) is None else x.shape
        if shape != tuple(x.shape):
            found.setdefault(tuple(shape), []).append(row)
    return list(found.values())
