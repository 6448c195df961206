"""What a certificate claims of a model, as functions to climb: an error, and what it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from escnn_soft.errors import ShapeError
from escnn_soft.groups import FibreGroup
from escnn_soft.testing.ascent import Height

__all__ = ["Claim", "norms", "repeated"]


@dataclass(frozen=True, eq=False)
class Claim:
    """||f(g y) - g f(y)|| <= limit for y in a ball, and how fast f may change.

    Attributes:
        run: f.
        before: the action on its input.
        after: that on its output.
        limit: of an element and points.  # shape: (n,)
        centre: one for each sample.  # shape: (samples, ...)
        radius: of the ball.
        elements: for which it is claimed.
        group: instead of these, every element of an infinite group.
        lipschitz: ||f(y) - f(centre)|| <= lipschitz ||y - centre||, wherever y lies; None if nothing is claimed.
        allowance: for the rounding of this difference, of points and of the norms of f(y) and f(centre).  # shape: (n,)
    """

    run: Callable[[Tensor], Tensor]
    before: Callable[[Any, Tensor], Tensor]
    after: Callable[[Any, Tensor], Tensor]
    limit: Callable[[Any, Tensor], Tensor]
    centre: Tensor
    radius: float
    elements: tuple[Any, ...]
    group: FibreGroup | None
    lipschitz: float | None
    allowance: Callable[[Tensor, Tensor, Tensor], Tensor]

    def error(self, element: Any) -> Height:
        """||f(g y) - g f(y)||."""

        def height(y: Tensor) -> tuple[Tensor, Tensor]:
            moved, expected = self.run(self.before(element, y)), self.after(element, self.run(y))
            if moved.shape != expected.shape:
                words = f"the shape {tuple(expected.shape)} of g f(x)"
                remedy = "Search elements and inputs that the certificate covers."
                raise ShapeError("f(g x).shape", tuple(moved.shape), words, remedy)
            return norms(moved.double() - expected.double()), self.limit(element, y.detach())

        return height

    def change(self) -> Height:
        """||f(y) - f(centre)||."""
        assert self.lipschitz is not None
        lipschitz, allowance = self.lipschitz, self.allowance
        with torch.no_grad():
            still = self.run(self.centre)

        def height(y: Tensor) -> tuple[Tensor, Tensor]:
            out, at_rest = self.run(y), repeated(still, len(y)).double()
            apart = norms(y.detach().double() - repeated(self.centre, len(y)).double())
            allowed = lipschitz * apart + allowance(y.detach(), norms(out.detach()), norms(at_rest))
            return norms(out.double() - at_rest), allowed

        return height


def repeated(x: Tensor, length: int) -> Tensor:
    """One row a sample, as many times as it takes: the points of all restarts are one batch."""
    return x.repeat(length // len(x), *[1] * (x.dim() - 1))


def norms(x: Tensor) -> Tensor:
    """Norms of the rows, in double precision.  # shape: (n,)."""
    return x.reshape(len(x), -1).double().norm(dim=1)
