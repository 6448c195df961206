"""Modules that move, select, mask or rotate channels and add no error of their own."""

from __future__ import annotations

import torch
from escnn.nn import FieldType
from torch import Tensor

from escnn_soft.certification.rules.rule import Bound, Call, Deviation, Rule, not_permuting, rounded
from escnn_soft.certification.tensor_action import Action
from escnn_soft.escnn.stored_arguments import change_of_basis, restricted_to

__all__ = ["Disentangle", "Mask", "MaximumOverFields", "Moving", "Restriction"]


class Moving(Rule):
    """Identity, dropout in evaluation mode, fields in another order, a choice of fields."""


class MaximumOverFields(Rule):
    """The largest channel of each field: | max y - max x | <= |y - x|, invariant under permutations."""

    def refusal(self, call: Call, row: int) -> str | None:
        """Channels have to be permuted."""
        return not_permuting(call.action, row)


class Restriction(Rule):
    """The same numbers, read as fields of a subgroup; elements outside it are left behind."""

    def out_action(self, call: Call, out_type: FieldType | None) -> Action:
        """Elements as the subgroup names them."""
        assert out_type is not None
        _, _, child = call.type.gspace.restrict(restricted_to(call.module))
        kept = tuple(None if g is None else child(g) for g in call.action.elements)
        return Action(kept, out_type, call.action.pixels)


class Disentangle(Rule):
    """An orthogonal change of basis, which escnn keeps in single precision."""

    single = True

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """1, up to that precision."""
        return (max(float(torch.linalg.matrix_norm(q, 2)) for q in change_of_basis(call.module)) * (1 + 1e-9),)

    def own(self, call: Call, row: int) -> Deviation | None:
        """Twice what the rounding of the change of basis amounts to."""
        return Deviation(2 * max(q.shape[0] for q in change_of_basis(call.module)) * torch.finfo(torch.float32).eps)

    def rounding(self, call: Call, norms: Tensor, reach: Tensor) -> Tensor:
        """Sums over a field."""
        size = max(q.shape[0] for q in change_of_basis(call.module))
        return rounded(call, norms, (size + 4.0) * size**0.5, single=True)


class Mask(Rule):
    """x -> mask x: ||g mask - mask||_max |x|."""

    ulps = 2.0

    def lipschitz(self, call: Call, reach: Tensor) -> tuple[Bound, ...]:
        """The largest entry."""
        return (float(call.module.mask.abs().max()),)

    def own(self, call: Call, row: int) -> Deviation | None:
        """How far the mask is from being symmetric."""
        mask = call.module.mask.detach()
        space = call.type.gspace
        if not call.action.pixels or call.action.elements[row] is None:
            return None
        moved = Action(call.action.elements, space.type(space.trivial_repr), pixels=True)(row, mask)
        return Deviation(float((moved - mask).abs().max()))
