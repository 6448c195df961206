"""What every module with a softness is, and what the verbs ask of a layer with one."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from escnn_soft.bounds import Certificate, MatrixCertificate
from escnn_soft.dial.dial import Dial, check_bounded
from escnn_soft.dial.motion import largest_error
from escnn_soft.dial.policies import as_policy, as_softness
from escnn_soft.dial.policies.graded import Graded
from escnn_soft.dial.policies.policy import Policy
from escnn_soft.errors import ArgumentError
from escnn_soft.grading import Level, SubgroupChain, SubgroupId, WeightSpectrum

__all__ = ["DialHolder", "SoftModule"]


class DialHolder(Module):
    """A module that holds dials, one a tensor, all under one policy.

    Attributes:
        level_logits: parameters of a learned policy, those of one dial after the other; else None.
    """

    level_logits: Parameter | None
    _dials: tuple[Dial, ...]
    scheduled: bool = False
    """Whether a scheduler sets the softness, and so again after a state is loaded."""
    _means_softness: ClassVar[bool] = True
    """Whether the softness has a part in what the trained tensors mean."""

    def _hold(self, *dials: Dial) -> None:
        """Take dials; called once, by the constructor."""
        self._dials = dials
        self.register_parameter("level_logits", None)
        self._start_logits()

    @property
    def softness(self) -> float | Policy:
        """The dial: a float s for ``Graded(s)``, else the policy. Settable at any time, also between steps."""
        return as_softness(self._dials[0].policy)

    @softness.setter
    def softness(self, softness: float | Policy) -> None:
        self.turn(softness)

    def turn(self, softness: float | Policy, *, keep: bool = False) -> None:
        """Set the softness.

        Args:
            softness: a float in [0, 1] or a policy.
            keep: whether to keep the function that the module computes, where the new softness allows it, by changing
                what is trained: coefficients V stand for other weights at another gain. What it does not allow is cut
                down to it; a level that it closes keeps its coefficients.

        Raises:
            SoftnessError: if it is neither, or needs what the module cannot give.
        """
        policy = self.accepted(softness)
        used = self._in_use() if keep else None
        self._set(policy)
        if used is not None:
            with torch.no_grad():
                self._stand_for(used)
            self._forget()

    def _check_own(self, *names: str) -> None:
        """Refuse to write parameters that something else computes."""
        derived = [name for name in names if name not in self._parameters]
        if derived:
            remedy = "Remove the pruning or parametrization first, or turn without keep."
            raise ArgumentError("keep", True, f"a layer whose {' and '.join(derived)} nothing else computes", remedy)

    def _in_use(self) -> list[Tensor]:
        """What the trained tensors under the dials stand for, one a dial."""
        raise NotImplementedError

    def _stand_for(self, used: list[Tensor]) -> None:
        """Write the trained tensors so that they stand for this."""
        raise NotImplementedError

    def _set(self, policy: Policy) -> None:
        if policy != self._dials[0].policy:
            self.level_logits = None  # another learned policy starts anew
        for dial in self._dials:
            dial.turn(policy)
        self._start_logits()
        self._forget()

    @contextmanager
    def at_zero(self) -> Iterator[None]:
        """Softness 0 inside, the module's own again afterwards; a learned policy's parameters are left alone."""
        policies = [dial.policy for dial in self._dials]
        if all(dial.closed for dial in self._dials):  # what is kept for evaluation is that of softness 0 already
            yield
            return
        try:
            for dial in self._dials:
                dial.turn(Graded(0.0))
            self._forget()
            yield
        finally:
            for dial, policy in zip(self._dials, policies, strict=True):
                dial.turn(policy)
            self._forget()

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of everything under its dials, one dial after the other."""
        return tuple(level for dial in self._dials for level in dial.graded.levels)

    @property
    def closed(self) -> bool:
        """Whether a softness above 0 opens nothing, because the weights have no part that breaks nothing."""
        dial = self._dials[0]
        if dial.policy.bounded:
            return not (dial.anchored or dial.closed)  # a budget of 0 is closed in any case
        return dial.closed and not dial.anchored and dial.policy.balanced and self.softness != 0

    def _closed_words(self) -> str:
        return " (closed: nothing in it is equivariant)" if self.closed else ""

    def accepted(self, softness: float | Policy) -> Policy:
        """The policy that a softness stands for.

        Args:
            softness: a float in [0, 1] or a policy.

        Returns:
            The policy; nothing is set.

        Raises:
            SoftnessError: if it is neither, or needs what the module cannot give, such as a ``Budget`` a bound.
        """
        policy = as_policy(softness)
        if policy.bounded:
            for dial in self._dials:
                check_bounded(dial.graded, policy)
        return policy

    @torch.inference_mode(False)
    def _start_logits(self) -> None:
        """Give a learned policy its parameters."""
        dials = self._dials
        if dials[0].policy.learned and self.level_logits is None:
            dtype = self._logit_dtype()
            self.level_logits = Parameter(torch.cat([dial.first_logits(dtype) for dial in dials]))

    def _logit_dtype(self) -> torch.dtype:
        """Dtype of a learned policy's parameters: that of the weights."""
        return self._dials[0].weight_dtype

    def _logits(self) -> list[Tensor | None]:
        """A learned policy's parameters, dial by dial."""
        if self.level_logits is None:
            return [None] * len(self._dials)
        return list(self.level_logits.split([dial.learnable for dial in self._dials]))

    def _forget(self) -> None:
        """Drop what is kept for evaluation."""

    # ------------------------------------------------------------------ the softness in a state_dict

    def _in_state(self, state_dict: Any, prefix: str) -> bool:
        """Whether a state holds any of the tensors."""
        return any(key.startswith(prefix) for key in state_dict)

    def _softness_words(self) -> str:
        """The softness, less what the state_dict holds itself: the gains of a learned policy."""
        policy = self._dials[0].policy
        return type(policy).__name__ if policy.learned else repr(self.softness)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Beside the tensors, where torch keeps the versions of modules, leave the softness they belong to."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", None)
        if metadata is not None and is_dataclass(self._dials[0].policy):  # others may print an address
            metadata.setdefault(prefix[:-1], {})["softness"] = self._softness_words()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        """Say so where the tensors were saved at another softness: they mean another function here."""
        saved, own = local_metadata.get("softness"), self._softness_words()
        expected = saved is None or saved == own or self.scheduled or not self._means_softness
        if not expected and self._in_state(state_dict, prefix):
            warnings.warn(
                f"This state was saved at softness {saved} and is loaded into layers at {own}, where it means another "
                "function. Set the softness it was saved at first, with softness_config and load_softness, or save and "
                "load with save_softened and load_softened.",
                stacklevel=2,
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class SoftModule(DialHolder):
    """A layer with a softness: what the verbs ask of it."""

    of_layer: ClassVar[bool] = True
    """Whether its certificate is that of the whole layer."""

    plain: ClassVar[bool] = False
    """Whether it runs on plain tensors, so that something without a dial can take its place."""

    @property
    def chain(self) -> tuple[SubgroupId, ...] | None:
        """Subgroups by which the dial is graded, from large to small; the last stays exact at every softness."""
        return None

    @property
    def rank(self) -> int | None:
        """Number of products that its soft coefficients are sums of; None for any coefficients."""
        return None

    @property
    def kind(self) -> str:
        """Name of its class."""
        return type(self).__name__

    def bound(self, element: Any = None) -> float:
        r"""Largest relative error e(g) / ||W|| that the softness allows, whatever the weights are.

            e(g) <= bound(g) ||W||,        for the bias    e(g) <= bound(g) sqrt(||W||^2 + ||b||^2)

        It is known before training, and no certificate exceeds it: see :class:`escnn_soft.Graded`. As in certificates,
        where the group does not act on the pixels the norms are those of the continuous kernel, not of its samples;
        the bias is measured by the whole layer. A ``Budget`` bounds the kernel and the bias each by itself. It includes
        the rounding of the layer's dtype. What the weights as they are add to it is included too: where escnn's own
        kernel breaks the symmetry, because its rings miss pixels that are far apart, and where a kernel is so small
        that it lies among the subnormal numbers.

        Args:
            element: an element of the group; an angle in radians, for all rotations by at most that; None for all
                elements.

        Returns:
            The bound, of the kernel's error and the bias's.

        Raises:
            ArgumentError: if it is none of these.
        """
        return max(self._as_stored([largest_error(dial, element, self._subgroups()) for dial in self._dials]))

    def _as_stored(self, bounds: Sequence[float]) -> Sequence[float]:
        """The bounds of the dials, with what the weights as they are add to them."""
        return bounds

    def _subgroups(self) -> SubgroupChain | None:
        """The chain by which the dials are graded."""
        return None

    def named(self, module: str) -> str:
        """What the dial is called, given the name of its module: the same."""
        return module

    def baked(self) -> Module:
        """What computes, without a dial, what this computes now.

        Raises:
            ArgumentError: if it does not run on plain tensors.
        """
        remedy = "Use its export(), which takes and gives plain tensors."
        raise ArgumentError("layer", self.kind, "a layer that runs on plain tensors", remedy)

    # ------------------------------------------------------------------ what each kind says of itself

    @property
    @abstractmethod
    def fields(self) -> str:
        """Between which fields it maps, in words."""

    @abstractmethod
    def spectrum(self) -> WeightSpectrum:
        """How its weights, as they are used, spread over the levels."""

    @abstractmethod
    def certificate(self) -> Certificate | MatrixCertificate:
        """The equivariance error of its weights, as they are used."""

    @abstractmethod
    def hardened(self) -> Module:
        """What computes for good what this computes at softness 0, to take its place."""
