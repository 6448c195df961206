"""Weights from coefficients, each level multiplied by its gain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from escnn_soft.grading.arrangement import Arrangement
from escnn_soft.linalg.one_step import linear_map, one_step

__all__ = ["synthesised"]


def synthesised(
    a: Arrangement,
    gains: Tensor | None,
    coefficients: Sequence[Tensor],
    pieces: Callable[..., list[Tensor]],
    joined: Callable[[list[Tensor]], Tensor | tuple[Tensor, ...]],
) -> Tensor:
    """The weight, with a backward pass of its own.

    Args:
        a: how the blocks are multiplied.
        gains: one factor a level; None for ones.  # shape: (levels,)
        coefficients: in one tensor or in some.
        pieces: all of them unit by unit, (..., pairs, D) each.
        joined: its adjoint.

    Returns:
        The weight.  # shape: (out, in, S)
    """

    def forth(*inputs: Tensor) -> Tensor:
        given = inputs[len(coefficients) :]
        damping = [unit.row_gains(given[0] if given else gains) for unit in a.units]
        each = zip(a.units, pieces(*inputs[: len(coefficients)]), damping, strict=True)
        return a.weight([unit.through(piece, g) for unit, piece, g in each])

    def back(weight: Tensor) -> Tensor | tuple[Tensor, ...]:
        return joined(
            [unit.onto(part, unit.row_gains(gains)) for unit, part in zip(a.units, a.parts(weight), strict=True)]
        )

    def back_to_gains(weight: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        *own, given = inputs
        moved, rows = [], []
        for unit, part, piece in zip(a.units, a.parts(weight), pieces(*own), strict=True):
            of_piece, of_rows = unit.onto_both(part, piece, given[unit.levels])
            moved.append(of_piece)
            rows.append(of_rows.reshape(-1))
        levels = torch.cat([unit.levels.reshape(-1) for unit in a.units])
        of_coefficients = joined(moved)
        of_gains = torch.zeros_like(given).index_add(0, levels, torch.cat(rows))
        return *(of_coefficients if isinstance(of_coefficients, tuple) else (of_coefficients,)), of_gains

    if gains is None or not gains.requires_grad:
        return linear_map(forth, back, *coefficients)
    return one_step(forth, back_to_gains, *coefficients, gains)
