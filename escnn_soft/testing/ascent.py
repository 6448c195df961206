"""Climbing in a ball: many points at once, along their gradients, and by signs where these lead no further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Ball", "Height", "climb", "directions", "quotients"]

Height = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of points (n, ...): a differentiable function to climb, and what it may be at most, both (n,) in double precision."""

_STEP = 2.0
"""First step, in radii. From the middle of a ball large steps are those of power iteration."""
_LARGEST, _SMALLEST = 64.0, 1e-3
_GROWTH, _DECAY = 2.0, 0.25
_MOMENTUM = 0.5
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Ball:
    """Where to climb.

    Attributes:
        centre: for each point its own, in the dtype of the points.  # shape: (n, ...)
        radius: of the ball, in the Euclidean norm.
    """

    centre: Tensor
    radius: float

    def inside(self, offsets: Tensor) -> Tensor:
        """The nearest offsets inside, so far inside that rounding to the points' dtype does not lead out of it."""
        unit = torch.finfo(self.centre.dtype).eps
        reach = (self.radius - unit * (_norms(self.centre.double()) + self.radius)).clamp_min(0.0)
        return _scaled(offsets, (reach / _norms(offsets).clamp_min(_TINY)).clamp_max(1.0))

    def points(self, offsets: Tensor) -> Tensor:
        """The points at some offsets, rounded to their dtype."""
        return (self.centre.double() + offsets).to(self.centre.dtype)


def directions(like: Tensor, generator: torch.Generator) -> Tensor:
    """Random unit vectors of the shape of some points, in double precision."""
    return _unit(torch.randn(like.shape, generator=generator, dtype=torch.float64)).to(like.device)


def climb(height: Height, ball: Ball, offsets: Tensor, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points in a ball at which a function is large, compared with what it may be.

    Each point makes steps of its own length along its gradient, with momentum: twice as long after one that led up, a
    quarter as long after one that did not, which is taken back. Where the steps have become short, or there is no
    gradient, the signs of some entries of the offset are flipped instead.

    Args:
        height: the function.
        ball: where.
        offsets: from the centres, where to start.  # shape: (n, ...)
        steps: how many.
        generator: of the signs.

    Returns:
        The offsets, and the quotients of the function and what it may be.  # shapes: (n, ...), (n,)
    """
    best = ball.inside(offsets)
    quotient, slope = _evaluated(height, ball.points(best))
    momentum, step = slope, torch.full_like(quotient, _STEP)
    for _ in range(steps):
        stuck = (step < _SMALLEST) | (_norms(slope) == 0)
        forward = best + _scaled(momentum, step * ball.radius)
        trial = ball.inside(torch.where(_column(stuck, best), _flipped(best, generator), forward))
        found, new_slope = _evaluated(height, ball.points(trial))
        up = found > quotient
        gathered = _unit(new_slope + _MOMENTUM * _scaled(momentum, (~stuck).double()))
        rows = _column(up, best)
        best, quotient = torch.where(rows, trial, best), torch.where(up, found, quotient)
        momentum, slope = torch.where(rows, gathered, slope), torch.where(rows, new_slope, slope)
        longer = torch.where(stuck, _STEP, (step * _GROWTH).clamp_max(_LARGEST))
        step = torch.where(up, longer, torch.where(stuck, step, step * _DECAY))
    return best, quotient


def quotients(value: Tensor, limit: Tensor) -> Tensor:
    """Values divided by what they may be: what is not a number is more than any limit, and nothing is within any."""
    value = value.detach().nan_to_num(nan=torch.inf)
    return torch.where(value > 0, value / limit, torch.zeros_like(value))


def _evaluated(height: Height, points: Tensor) -> tuple[Tensor, Tensor]:
    """The quotients, and the directions of the gradients; zeros where the function has none."""
    points = points.detach().requires_grad_()
    value, limit = height(points)
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), points, allow_unused=True)
    slope = torch.zeros_like(points) if gradient is None else gradient
    return quotients(value, limit), _unit(slope.detach().double().nan_to_num(posinf=0.0, neginf=0.0))


def _flipped(offsets: Tensor, generator: torch.Generator) -> Tensor:
    """The offsets with the signs of some entries flipped: of half of them, of one, or of a share in between."""
    size = offsets[0].numel()
    shares = 0.5 * size ** -torch.rand(len(offsets), generator=generator, dtype=torch.float64)
    drawn = torch.rand(offsets.shape, generator=generator, dtype=torch.float64)
    return torch.where((drawn < _column(shares, drawn)).to(offsets.device), -offsets, offsets)


def _norms(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def _unit(x: Tensor) -> Tensor:
    norms = _norms(x)
    return _scaled(x, torch.where(norms > 0, 1 / norms.clamp_min(_TINY), 0.0))


def _scaled(x: Tensor, factors: Tensor) -> Tensor:
    return x * _column(factors, x)


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.dim() - 1))
