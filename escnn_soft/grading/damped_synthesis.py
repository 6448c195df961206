"""Weights from coefficients that all change, with gains that do not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.grading.factors import Factors
from escnn_soft.grading.transform import WeightTransform
from escnn_soft.linalg.one_step import linear_map, one_step
from escnn_soft.linalg.straight_through import nothing_unless

__all__ = ["DampedSynthesis"]

_SMALL = 2**16
"""Numbers of rows that may be kept twice, even if they are more than those of the weight."""


class DampedSynthesis:
    r"""Weights from coefficients, with gains that stay, and one factor of all that breaks the symmetry.

        W = synthesis(gains * (c_0, t c_breaking))

    What stays is multiplied into the rows once, as far as they are small.

    Args:
        transform: the levels.
        joint: whether the coefficients of the first level are given apart from the others.
        gains: one factor a level; None for ones.  # shape: (levels,)
        breaking: the levels that the factor is of.  # shape: (levels,)
    """

    @lasting()
    def __init__(self, transform: WeightTransform, *, joint: bool, gains: Tensor | None, breaking: Tensor) -> None:
        self._arrangement = a = transform.arrangement
        self._split = transform.split if joint else None
        if self._split is not None:
            a.prepare(self._split)
        self._damping = [unit.row_gains(gains) for unit in a.units]
        self._rows = self._damped_rows(max(math.prod(transform.shape), _SMALL))
        soft = transform.soft if joint else transform
        moving = soft.spread(breaking[len(breaking) - len(soft.levels) :])
        self._moving = None if bool(moving.all()) else moving

    def _damped_rows(self, most: int) -> list[Tensor] | None:
        """The rows times their gains; None where these are factors of rows, or more numbers than at most."""
        rows = [unit.rows for unit in self._arrangement.units if not isinstance(unit.rows, Factors)]
        if len(rows) < len(self._damping) or sum(each.numel() for each in rows) > most:
            return None
        both = zip(rows, self._damping, strict=True)
        return [each if gains is None else gains.unsqueeze(-1) * each for each, gains in both]

    def __call__(self, *coefficients: Tensor, t: Tensor | None = None, resolved: Tensor | None = None) -> Tensor:
        """The weight, differentiably.

        Args:
            *coefficients: of all levels, or of the first and of the others.
            t: the factor; 1 if None.  # shape: ()
            resolved: whether the weight is not 0 all the same; gradients pass as if it were.  # shape: ()

        Returns:
            The weight.  # shape: (out, in, S)
        """
        if t is None:
            assert resolved is None
            return linear_map(self._forth, self._back, *coefficients)

        def forth(*inputs: Tensor) -> Tensor:
            weight = self._limited(*inputs)
            return weight if resolved is None else nothing_unless(resolved, weight)

        return one_step(forth, self._limited_back, *coefficients, t)

    def _forth(self, *coefficients: Tensor) -> Tensor:
        a = self._arrangement
        pieces = a.pieces(*coefficients) if self._split is None else a.joint_pieces(self._split, *coefficients)
        if self._rows is None:
            each = zip(a.units, pieces, self._damping, strict=True)
            return a.weight([unit.through(piece, g) for unit, piece, g in each])
        return a.weight([_product(piece, rows) for piece, rows in zip(pieces, self._rows, strict=True)])

    def _back(self, weight: Tensor) -> tuple[Tensor, ...]:
        a = self._arrangement
        if self._rows is None:
            each = zip(a.units, a.parts(weight), self._damping, strict=True)
            pieces = [unit.onto(part, g) for unit, part, g in each]
        else:
            pieces = [_product(part, rows.mT) for part, rows in zip(a.parts(weight), self._rows, strict=True)]
        return (a.coefficients(pieces),) if self._split is None else a.split(self._split, pieces)

    def _limited(self, *inputs: Tensor) -> Tensor:
        *own, coefficients, t = inputs
        return self._forth(*own, coefficients * self._factors(t.to(coefficients)))

    def _limited_back(self, weight: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        *_, coefficients, t = inputs
        *own, moved = self._back(weight)
        breaking = moved if self._moving is None else torch.where(self._moving, moved, 0.0)
        slope = torch.dot(breaking, coefficients).to(t)
        return *own, moved * self._factors(t.to(coefficients)), slope

    def _factors(self, t: Tensor) -> Tensor:
        """Of the coefficients outside the first level."""
        return t if self._moving is None else torch.where(self._moving, t, 1.0)

    def __deepcopy__(self, memo: dict[int, object]) -> DampedSynthesis:
        """It never changes, so copies of a layer share it."""
        return self


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Of matrices, or of stacks of them: what ``@`` finds out."""
    return torch.bmm(a, b) if a.dim() == 3 else torch.mm(a, b)
