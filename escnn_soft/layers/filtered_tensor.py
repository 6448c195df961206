"""A plain tensor of a plain module that goes through a filter: a dial of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.nn import Conv2d, Module
from torch.nn.utils.parametrize import is_parametrized

from escnn_soft.bounds import Certificate
from escnn_soft.dial import Policy, SoftFilter, largest_error
from escnn_soft.errors import ArgumentError
from escnn_soft.grading import Level, SpectralGrading, WeightSpectrum
from escnn_soft.layers.plain_certificate import plain_certificate
from escnn_soft.layers.type_words import between, words

__all__ = ["FilteredTensor", "dial_name", "filtered_tensors"]

_OF_THE_LAYER = ("weight", "bias")
"""Tensors whose dial goes by the layer's own name."""


@dataclass(unsafe_hash=True)
class FilteredTensor:
    """A tensor of a module that goes through a filter: a handle, made anew whenever it is asked for.

    Attributes:
        owner: the module.
        tensor: the tensor's name in it.
        filter: what it goes through.
    """

    owner: Module
    tensor: str
    filter: SoftFilter

    chain: ClassVar[None] = None
    plain: ClassVar[bool] = True

    @property
    def softness(self) -> float | Policy:
        """The filter's dial."""
        return self.filter.softness

    @softness.setter
    def softness(self, softness: float | Policy) -> None:
        self.filter.softness = softness

    @property
    def scheduled(self) -> bool:
        """Whether a scheduler sets the softness."""
        return self.filter.scheduled

    @scheduled.setter
    def scheduled(self, scheduled: bool) -> None:
        self.filter.scheduled = scheduled

    def turn(self, softness: float | Policy, *, keep: bool = False) -> None:
        """Set the filter's softness; with ``keep`` the tensor as it was in use becomes the one that is filtered.

        Raises:
            ArgumentError: if something else parametrizes the tensor too, and ``keep`` is True.
            SoftnessError: if the filter does not take the softness.
        """
        self.accepted(softness)
        if not keep:
            self.filter.softness = softness
            return
        self._check_alone()
        used = self.value.clone()
        self.filter.softness = softness
        with torch.no_grad():
            weight = self.original
            weight.copy_(self.filter.dial.weight_for(used, weight, self.filter.level_logits))

    def accepted(self, softness: float | Policy) -> Policy:
        """The policy that a softness stands for, as the filter takes it."""
        return self.filter.accepted(softness)

    @property
    def original(self) -> Tensor:
        """The unfiltered tensor, where nothing else parametrizes it."""
        parametrizations: Any = self.owner.parametrizations
        return parametrizations[self.tensor].original

    def _unfiltered(self) -> Tensor:
        """What comes to the filter: the original, after the parametrizations before it."""
        parametrizations: Any = self.owner.parametrizations
        stack = parametrizations[self.tensor]
        if stack[0] is self.filter:
            return stack.original
        kept: list[Tensor] = []
        handle = self.filter.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach()))
        try:
            with torch.no_grad():
                stack()
        finally:
            handle.remove()
        return kept[0]

    @property
    def value(self) -> Tensor:
        """The tensor as the module uses it, filtered."""
        with torch.no_grad():
            return getattr(self.owner, self.tensor)

    # ------------------------------------------------------------------ what it says of itself

    def spectrum(self) -> WeightSpectrum:
        """How the tensor, as it is used, spreads over the levels."""
        return self.filter.spectrum(self._unfiltered(), self.value)

    def certificate(self) -> Certificate:
        """The equivariance error of the layer whose weight it is, by the filter's own levels.

        Returns:
            The certificate of the layer as it runs, its bias included; of a bias, that part of it.

        Raises:
            ArgumentError: if the tensor does not map between fields.
        """
        types = self.filter.types
        if types is None:
            expected = "a tensor that maps between fields"
            remedy = "Its filter was given no types: read spectrum(), as for tables of positions."
            raise ArgumentError("tensor", f"{self.kind} {self.fields}".rstrip(), expected, remedy)
        if self.tensor == "bias":
            certificate = plain_certificate(self.owner, types.in_type, types.out_type).bias
            assert certificate is not None
            return certificate
        graded = cast("SpectralGrading", self.filter.graded)
        return plain_certificate(self.owner, types.in_type, types.out_type, graded)

    def bound(self, element: Any = None) -> float:
        """Largest relative error e(g) / ||W|| that the softness allows; arguments as for a soft layer's ``bound``."""
        return self.filter.dial.with_excess(largest_error(self.filter.dial, element), self.value)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of the tensor."""
        return self.filter.levels

    @property
    def closed(self) -> bool:
        """Whether a softness above 0 lets nothing pass, because the tensor has no part that breaks nothing."""
        if self.filter.closed or not self.filter.dial.policy.balanced or self.softness == 0:
            return self.filter.closed
        unfiltered = self._unfiltered()
        if self.filter.dial.shows(unfiltered):
            return False
        return not (unfiltered.is_meta or bool(self.value.any())) and bool(unfiltered.any())

    @property
    def kind(self) -> str:
        """Name of the owner's class, and of the tensor if it is not the weight."""
        owner, kind = self.owner, type(self.owner).__bases__[0].__name__  # the class before it was parametrized
        if self.tensor != "weight":
            return f"{kind}.{self.tensor}"
        patches = isinstance(owner, Conv2d) and owner.kernel_size == owner.stride and max(owner.kernel_size) > 1
        return f"{kind} (patches)" if patches else kind

    @property
    def fields(self) -> str:
        """Its types in words; what it is, for a tensor that does not map between fields."""
        types = self.filter.types
        if types is None:
            return self.filter.what
        return words(types.out_type) if self.tensor == "bias" else between(types.in_type, types.out_type)

    @property
    def of_layer(self) -> bool:
        """Whether it is the weight of a layer between fields."""
        return self.tensor == "weight" and self.filter.types is not None

    def named(self, module: str) -> str:
        """What the dial is called, given the name of its module."""
        return dial_name(module, self.tensor)

    # ------------------------------------------------------------------ what can take its place

    def hardened(self) -> Tensor:
        """The equivariant part of the tensor, to stand without a filter."""
        self._check_alone()
        return self.filter.strict(self._unfiltered())

    def baked(self) -> Tensor:
        """The tensor as it is used, to stand without a filter."""
        self._check_alone()
        return self.value.clone()

    def _check_alone(self) -> None:
        """Refuse a tensor that something else parametrizes too."""
        parametrizations: Any = self.owner.parametrizations
        if len(parametrizations[self.tensor]) > 1:
            expected = "a tensor that only its filter parametrizes"
            remedy = "Take off the other parametrizations first, with torch.nn.utils.parametrize."
            raise ArgumentError("filtered tensor", f"{type(self.owner).__name__}.{self.tensor}", expected, remedy)


def dial_name(owner: str, tensor: str) -> str:
    """What a filter's dial is called: as the layer for its weight and bias, as any other tensor by itself.

    Args:
        owner: name of the module that holds the tensor.
        tensor: the tensor's name in it.

    Returns:
        The name.
    """
    return owner if tensor in _OF_THE_LAYER else ".".join(filter(None, (owner, tensor)))


def filtered_tensors(module: Module) -> tuple[FilteredTensor, ...]:
    """The tensors of a module itself that go through a filter.

    Args:
        module: any module.

    Returns:
        One entry a filter.
    """
    return tuple(_filtered(module)) if is_parametrized(module) else ()


def _filtered(module: Module) -> Iterator[FilteredTensor]:
    parametrizations: Any = module.parametrizations
    for tensor, stack in parametrizations.items():
        yield from (FilteredTensor(module, tensor, f) for f in stack if isinstance(f, SoftFilter))
