"""Constant tensors added to a field or multiplied with it, such as tables of positions and masks."""

from __future__ import annotations

import torch
from torch import Tensor

from escnn_soft.certification.rules.normalization import invariants
from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Rule
from escnn_soft.certification.tensor_action import Action, is_permutation

__all__ = ["Scaling", "Shift", "displacement"]

_ROUNDING = 1e-9
"""What is allowed for the rounding of moving a constant."""


def displacement(action: Action, row: int, table: Tensor) -> float | None:
    """||g t - t|| for a constant (channels, ...); None where pixels move and no single element is given."""
    table = table.detach().double().cpu()
    if action.elements[row] is not None:
        return float((action(row, table[None]) - table[None]).norm()) * (1 + _ROUNDING)
    if action.pixels:
        return None
    if action.fixes_channels():
        return 0.0
    assert action.type is not None
    # whatever the element, at most twice what is not invariant
    left = table - torch.einsum("dc,c...->d...", invariants(action.type), table)
    return 2 * float(left.norm()) * (1 + _ROUNDING)


class Table(Rule):
    """A constant (channels, ...) that goes with an activation, number by number."""

    kind = "soft"
    ulps = 4.0

    def refusal(self, call: Call, row: int) -> str | None:
        """On images with other sides there is another constant, if it is one of pixels."""
        table: Tensor = call.module.table
        if not _reshaped(call, row) or bool((table == table[(slice(None), *[slice(1)] * (table.ndim - 1))]).all()):
            return None
        return "its constant varies over the pixels of an image of which the element swaps sides of different lengths"

    def acting(self, call: Call, row: int) -> Action:
        """The action on the constant; where it does not vary over pixels these need not move."""
        action = call.action
        return Action(action.elements, action.type, pixels=False) if _reshaped(call, row) else action


def _reshaped(call: Call, row: int) -> bool:
    return call.action.elements[row] is not None and call.action.moved_shape(row, call.x.shape) != tuple(call.x.shape)


class Shift(Table):
    """x -> slope x + scale t: ||f(g x) - g f(x)|| = |scale| ||g t - t||, whatever x is."""

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The slope."""
        return (abs(call.module.slope),)

    def own(self, call: Call, row: int) -> Deviation | None:
        """How far the constant is from being symmetric."""
        moved = displacement(self.acting(call, row), row, call.module.table)
        return None if moved is None else Deviation(constant=abs(call.module.scale) * moved)

    def offset(self, call: Call) -> float:
        """The constant."""
        return abs(call.module.scale) * float(call.module.table.double().norm())


class Scaling(Table):
    """x -> t x, number by number: ||f(g x) - g f(x)|| <= max |t - g t| ||x|| where g only moves numbers."""

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The largest factor."""
        return (float(call.module.table.double().abs().max()) * (1 + 1e-12),)

    def no_constant(self, call: Call) -> str:
        """A factor that is infinite, where something is divided by zero."""
        return "a factor is infinite"

    def own(self, call: Call, row: int) -> Deviation | None:
        """How far the factors are from being symmetric; where channels are mixed, left to a measurement."""
        action = self.acting(call, row)
        if action.elements[row] is None or not all(is_permutation(block) for block in action.blocks(row)):
            return None
        table = call.module.table.double().cpu()[None]
        return Deviation(float((action(row, table) - table).abs().max()) * (1 + _ROUNDING))
