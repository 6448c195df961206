"""A dial on a plain tensor of a plain module, as a parametrization of torch's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from escnn.gspaces import GSpace2D
from escnn.nn import FieldType
from torch import Tensor
from torch.nn import Module
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft.dial.dial import Dial
from escnn_soft.dial.held import Held
from escnn_soft.dial.kept import Kept, may_keep
from escnn_soft.dial.policies.graded import Graded
from escnn_soft.dial.policies.policy import Policy
from escnn_soft.dial.soft_module import DialHolder
from escnn_soft.errors import ArgumentError
from escnn_soft.grading import Grading, TokenShifts, WeightSpectrum

__all__ = ["FieldTypes", "SoftFilter", "weight_filter"]


@dataclass(frozen=True, eq=False)
class FieldTypes:
    """Between which fields a plain layer maps.

    Attributes:
        in_type: type of its input.
        out_type: type of its output.
    """

    in_type: FieldType
    out_type: FieldType

    def __deepcopy__(self, memo: dict[int, object]) -> FieldTypes:
        """They never change, so copies of a module share them."""
        return self


class SoftFilter(DialHolder):
    r"""W -> sum over levels of gain(violation_level) * (part of W in the level), for ``torch.nn.utils.parametrize``.

    At softness 0 only what is equivariant passes; at softness 1 the weight itself is returned, the same tensor. The
    weight that is trained, and stored in the ``state_dict``, is the unfiltered one:

        parametrize.register_parametrization(conv, "weight", SoftFilter(graded, 0.5, conv.weight))

    With a float, a ``Budget``, and where a policy's gains are 0 or 1, filtering twice is filtering once. An
    ``Exponential`` multiplies levels by other factors, so there it is not; but nothing is ever written back, so that a
    weight is filtered exactly once however often it is used.

    In evaluation mode the filtered weight is kept while no gradient with respect to the weight is asked for, until the
    weight is written or replaced, or the softness, dtype or device changes. What counts as written is said in
    :class:`Kept`.

    Args:
        graded: the levels of the weight, in float64.
        softness: a float in [0, 1] or a policy.
        like: the weight, for its device and dtype.
        types: fields between which the weight maps, where it is that of a layer between fields.
        symmetry: under which the weight is graded, where it is none between fields.
        what: what the weight is, in words for reports, where it is none between fields.

    Attributes:
        types: as given.
        symmetry: as given.
        what: as given.
        level_logits: parameters of a ``Learned`` softness, one a level outside the equivariant one; else None.

    Raises:
        SoftnessError: if the softness is neither a number in [0, 1] nor a policy, or is a ``Budget`` for a weight
            that no group grades.

    Example:
        >>> from escnn import gspaces
        >>> from torch.nn.utils.parametrize import register_parametrization
        >>> from escnn_soft.layers import graded_kernel
        >>> space = gspaces.rot2dOnR2(4)
        >>> conv = torch.nn.Conv2d(3, 8, kernel_size=3)
        >>> graded = graded_kernel(conv, space.type(*[space.trivial_repr] * 3), space.type(*[space.trivial_repr] * 8))
        >>> _ = register_parametrization(conv, "weight", SoftFilter(graded, 0.0, conv.weight))
        >>> bool(torch.allclose(conv.weight.rot90(1, (2, 3)), conv.weight, atol=1e-6))
        True
    """

    def __init__(
        self,
        graded: Grading,
        softness: float | Policy,
        like: Tensor,
        *,
        types: FieldTypes | None = None,
        symmetry: GSpace2D | TokenShifts | None = None,
        what: str = "",
    ) -> None:
        super().__init__()
        self.types, self.symmetry, self.what = types, symmetry, what
        self._like = like.detach().new_empty(0)
        self._kept = Kept[Tensor]()
        self._hold(Dial(graded, Graded(0.0), *Dial.place(self._like), held=Held.GIVEN))
        self.softness = softness

    def regrade(self, graded: Grading, what: str) -> None:
        """Take other levels, of a weight that has another shape now; the softness stays.

        Args:
            graded: the levels, in float64.
            what: what the weight is now, in words for reports.
        """
        policy, learned = self._dials[0].policy, self.level_logits
        self._dials = (Dial(graded, policy, *Dial.place(self._like), held=Held.GIVEN),)
        self.what = what
        if learned is not None and learned.numel() != self._dials[0].learnable:
            self.level_logits = None  # those of other levels
            self._start_logits()
        self._forget()

    @property
    def dial(self) -> Dial:
        """Its one dial."""
        return self._dials[0]

    @property
    def graded(self) -> Grading:
        """The levels, in float64."""
        return self._dials[0].graded

    def _logit_dtype(self) -> torch.dtype:
        return self._like.dtype

    def _in_state(self, state_dict: Any, prefix: str) -> bool:
        return True  # the weight is the parametrized module's, and torch shows a filter its own part of the state alone

    def gains(self, weight: Tensor) -> Tensor:
        """The factor of each level, as the policy and the parameters have it at this moment.

        Args:
            weight: the unfiltered weight, on which a ``Budget`` depends.

        Returns:
            One factor a level, differentiably.  # shape: (levels,)
        """
        dial = self._dials[0]
        return dial.gains(dial.weight_factor(weight), self.level_logits)

    # ------------------------------------------------------------------ the parametrization

    def forward(self, weight: Tensor) -> Tensor:
        """The filtered weight.

        Args:
            weight: the weight as it is trained.

        Returns:
            The filtered one, in the same shape, dtype and on the same device.
        """
        if self._dials[0].open or weight.is_meta:  # which has nothing to filter
            return weight
        dial = self._dials[0]
        if weight.device != dial.device or torch.promote_types(weight.dtype, dial.dtype) != dial.dtype:
            self._follow(weight)
        watched = [weight] if self.level_logits is None else [weight, self.level_logits]
        asked = torch.is_grad_enabled() and any(t.requires_grad for t in watched)
        if self.training or asked or not may_keep(watched):
            return self._filtered(weight)
        return self._kept(watched, lambda: self._filtered(weight), settings=(self._dials[0].policy,))

    def _follow(self, weight: Tensor) -> None:
        """Go where the weight is: it was replaced by one elsewhere, which no cast of the module tells."""
        self._like = weight.detach().new_empty(0)
        self._dials[0].to(*Dial.place(self._like))
        self._forget()

    def _filtered(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return self._dials[0].filtered(weight, self.level_logits)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What ``module.weight = value`` stores: the value itself, of which the filter then lets pass what it does.

        Args:
            weight: the value.

        Returns:
            The same tensor.
        """
        return weight

    @torch.no_grad()
    def strict(self, weight: Tensor) -> Tensor:
        """The equivariant part of a weight, at any softness.

        Args:
            weight: an unfiltered weight.

        Returns:
            What passes at softness 0.
        """
        return self._dials[0].strict(weight)

    @torch.no_grad()
    def spectrum(self, weight: Tensor, value: Tensor) -> WeightSpectrum:
        """How a weight, as it is used, spreads over the levels.

        Args:
            weight: the unfiltered weight.
            value: the filtered one.

        Returns:
            A frozen value with one entry a level, in the order of the dial.
        """
        return WeightSpectrum(self._dials[0].spectrum(value, self.gains(weight)))

    # ------------------------------------------------------------------ mode, casts, copies

    def train(self, mode: bool = True) -> SoftFilter:
        """Switch between training (filter at each use) and evaluation.

        Args:
            mode: True for training.

        Returns:
            The filter.
        """
        super().train(mode)
        self._forget()
        return self

    def _in_use(self) -> list[Tensor]:
        expected = "False for a filter, which does not hold the weight"
        raise ArgumentError("keep", True, expected, "Use set_softness(model, softness, keep=True), or dials(model).")

    def _forget(self) -> None:
        self._kept.forget()

    def _apply(self, fn: Any, recurse: bool = True) -> SoftFilter:
        self._forget()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._like = fn(self._like)
        self._dials[0].to(*Dial.place(self._like))
        self._forget()
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        self._forget()
        super()._load_from_state_dict(*args)
        self._forget()

    def extra_repr(self) -> str:
        """The softness and the number of levels."""
        return f"softness={self.softness}{self._closed_words()}, levels={len(self.graded.levels)}"


def weight_filter(module: Module) -> SoftFilter | None:
    """The filter that a layer's weight goes through.

    Args:
        module: any module.

    Returns:
        The filter, or None.
    """
    if not is_parametrized(module, "weight"):
        return None
    parametrizations: Any = module.parametrizations
    return next((f for f in parametrizations.weight if isinstance(f, SoftFilter)), None)
