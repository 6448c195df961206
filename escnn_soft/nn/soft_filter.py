"""A dial on a plain tensor of a plain module, as a parametrization of torch's."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, cast

import torch
from escnn.nn import FieldType
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn import Module, Parameter
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft.errors import SoftnessError
from escnn_soft.nn.gains import LevelGains
from escnn_soft.policies import Budget, Exponential, Learned, Policy, as_policy
from escnn_soft.spectrum import Graded, SpectralGraded

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


class SoftFilter(Module):
    r"""W -> sum over levels of gain(sigma_level) * (part of W in the level), for ``torch.nn.utils.parametrize``.

    At softness 0 only what is equivariant passes; at softness 1 the weight itself is returned, the same tensor. The
    weight that is trained, and stored in the ``state_dict``, is the unfiltered one:

        parametrize.register_parametrization(conv, "weight", SoftFilter(graded, 0.5, conv.weight))

    Where a policy's gains are 0 or 1, and with a ``Budget``, filtering twice is filtering once. An ``Exponential``
    multiplies levels by other factors, so there it is not; but nothing is ever written back, so that a weight is
    filtered exactly once however often it is used.

    In evaluation mode the filtered weight is kept while no gradient with respect to the weight is asked for, until the
    weight is written or replaced, or the softness, dtype or device changes. A write through ``weight.data`` cannot be
    seen: call ``train()`` or ``eval()`` after it.

    Args:
        graded: the levels of the weight, in float64.
        softness: a float in [0, 1] or a policy.
        like: the weight, for its device and dtype.
        types: fields between which the weight maps, where it is that of a layer between fields.
        what: what the weight is, in words for reports, where it is none between fields.

    Attributes:
        graded: the levels, in float64.
        types: as given.
        what: as given.
        level_logits: parameters of a ``Learned`` softness, one a level outside the equivariant one; else None.

    Raises:
        SoftnessError: if the softness is neither a number in [0, 1] nor a policy, or is a ``Budget`` for a weight
            that no group grades.

    Example:
        >>> from escnn import gspaces
        >>> from torch.nn.utils.parametrize import register_parametrization
        >>> from escnn_soft.nn import graded_kernel
        >>> space = gspaces.rot2dOnR2(4)
        >>> conv = torch.nn.Conv2d(3, 8, kernel_size=3)
        >>> graded = graded_kernel(conv, space.type(*[space.trivial_repr] * 3), space.type(*[space.trivial_repr] * 8))
        >>> _ = register_parametrization(conv, "weight", SoftFilter(graded, 0.0, conv.weight))
        >>> bool(torch.allclose(conv.weight.rot90(1, (2, 3)), conv.weight, atol=1e-6))
        True
    """

    level_logits: Parameter | None

    def __init__(
        self,
        graded: Graded,
        softness: float | Policy,
        like: Tensor,
        *,
        types: FieldTypes | None = None,
        what: str = "",
    ) -> None:
        super().__init__()
        self.graded, self.types, self.what = graded, types, what
        self._like = like.detach().new_empty(0)
        self._kept: tuple[weakref.ref[Tensor], tuple[object, ...], Tensor] | None = None
        self.register_parameter("level_logits", None)
        self._set(self.accepted(softness))

    # ------------------------------------------------------------------ the dial

    @property
    def softness(self) -> float | Policy:
        """The dial: a float s for ``Exponential(s)``, else the policy. Settable at any time, also between steps."""
        return self._policy.softness if isinstance(self._policy, Exponential) else self._policy

    @softness.setter
    def softness(self, softness: float | Policy) -> None:
        policy = self.accepted(softness)
        if policy != self._policy:
            self.register_parameter("level_logits", None)  # another learned policy starts anew
        self._set(policy)

    def accepted(self, softness: float | Policy) -> Policy:
        """The policy that a softness stands for.

        Args:
            softness: a float in [0, 1] or a policy.

        Returns:
            The policy; nothing is set.

        Raises:
            SoftnessError: if it is neither, or a ``Budget`` for a weight that no group grades.
        """
        policy = as_policy(softness)
        if isinstance(policy, Budget) and not isinstance(self.graded, SpectralGraded):
            remedy = "Use a float, Cutoff or Learned."
            raise SoftnessError("softness", policy, "a softness that needs no bound of the error here", remedy)
        return policy

    def _set(self, policy: Policy) -> None:
        """Bring everything that is neither parameter nor state to a policy, and the weight's dtype and device."""
        self._policy, self._kept = policy, None
        device, work = self._like.device, torch.promote_types(self._like.dtype, torch.float32)
        self._here = self.graded.to(device, work)
        dial = self.graded.dial
        self._static = policy.gains(dial).to(device, work)
        self._equivariant = sum(level.equivariant for level in self.graded.levels)
        closed_or_open = self._equivariant == len(dial) or not isinstance(policy, Budget | Learned)
        self._open = closed_or_open and bool((self._static == 1).all())
        self._budget: LevelGains | None = None
        if isinstance(policy, Budget) and self._equivariant < len(dial) and policy.eta > 0:
            assert isinstance(self.graded, SpectralGraded)
            self._budget = LevelGains(policy, self.graded.transform, self._like)
        if isinstance(policy, Learned) and self.level_logits is None:
            self.level_logits = Parameter(self._static[self._equivariant :].to(self._like.dtype).logit())

    def gains(self, weight: Tensor) -> Tensor:
        """The factor of each level, as the policy and the parameters have it at this moment.

        Args:
            weight: the unfiltered weight, on which a ``Budget`` depends.

        Returns:
            One factor a level, differentiably.  # shape: (levels,)
        """
        learned: Tensor | None = None
        if self.level_logits is not None:
            learned = self.level_logits.to(self._static.dtype).sigmoid()
        elif self._budget is not None:
            learned = self._within_budget(weight.to(self._static.dtype))
        return self._static if learned is None else torch.cat([self._static[: self._equivariant], learned])

    def _within_budget(self, weight: Tensor) -> Tensor:
        assert self._budget is not None
        graded = cast(SpectralGraded, self._here)
        # squares of unscaled weights could underflow; a common factor of all weights changes nothing
        largest = weight.detach().abs().max()
        coefficients = graded.block_coefficients(weight / torch.where(largest > 0, largest, 1.0))
        first = [int((block.level < self._equivariant).sum()) for block in graded.transform.blocks]
        strict = sum((c[:, :n].square().sum() for c, n in zip(coefficients, first, strict=True)), weight.new_zeros(()))
        soft = [c[:, n:] for c, n in zip(coefficients, first, strict=True)]
        return self._budget.within_budget(soft, strict).to(weight.dtype)

    # ------------------------------------------------------------------ the parametrization

    def forward(self, weight: Tensor) -> Tensor:
        """The filtered weight.

        Args:
            weight: the weight as it is trained.

        Returns:
            The filtered one, in the same shape, dtype and on the same device.
        """
        if self._open:
            return weight
        if self.training or not self._may_keep(weight):
            return self._filtered(weight)
        key = (weight.data_ptr(), weight._version, weight.dtype, weight.device, weight.shape)
        if self._kept is None or self._kept[0]() is not weight or self._kept[1] != key:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = weakref.ref(weight), key, self._filtered(weight)
        return self._kept[2]

    def _filtered(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            work = weight.to(self._static.dtype)
            return self._here.filtered(work, self.gains(work)).to(weight.dtype)

    def _may_keep(self, weight: Tensor) -> bool:
        """Whether the filtered weight may be kept: a graph cannot ask whether a tensor was written since."""
        if torch.compiler.is_compiling() or is_functorch_wrapped_tensor(weight) or hasattr(weight, "fake_mode"):
            return False
        wanted = [weight] if self.level_logits is None else [weight, self.level_logits]
        return not weight.is_inference() and not (torch.is_grad_enabled() and any(p.requires_grad for p in wanted))

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
        work = weight.to(self._static.dtype)
        gains = torch.zeros_like(self._static)
        gains[: self._equivariant] = 1
        return self._here.filtered(work, gains).to(weight.dtype)

    def energies(self, weight: Tensor) -> Tensor:
        """Squared norm of a weight in each level of :attr:`graded`, in float64 on the CPU.

        Args:
            weight: a weight, filtered or not.

        Returns:
            One value a level.  # shape: (levels,)
        """
        return self.graded.energies(weight.detach().double().cpu())

    # ------------------------------------------------------------------ mode, casts, copies

    def train(self, mode: bool = True) -> SoftFilter:
        """Switch between training (filter at each use) and evaluation.

        Args:
            mode: True for training.

        Returns:
            The filter.
        """
        super().train(mode)
        self._kept = None
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> SoftFilter:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._like = fn(self._like)
        self._set(self._policy)
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._kept = None

    def __getstate__(self) -> dict[str, Any]:
        """What copies take over: everything but what is kept for this very weight."""
        return {**vars(self), "_kept": None}

    def extra_repr(self) -> str:
        """The softness and the number of levels."""
        return f"softness={self.softness}, levels={len(self.graded.levels)}"


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
