"""The parametrizations of a tensor that stays with its module."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import Module, ModuleList, Parameter
from torch.nn.utils import parametrize

from escnn_soft.convert.plain.written_through import WrittenThrough
from escnn_soft.errors import ArgumentError, EscnnSoftError, ShapeError

__all__ = ["NamedStack", "Place", "Replaced"]

Replaced: TypeAlias = Callable[[Module, str, Tensor], None]
"""Called with the owner, the tensor's name and the old tensor, once another has its place; what it raises undoes it."""


class Place:
    """Where a module holds a tensor.

    The module is asked for its dictionary each time: others give it a new one, as a copy or ``torch.export`` does. It
    is referred to weakly, or it would hold itself through its parametrizations and outlive its last user.

    Args:
        owner: the module.
        kind: ``"_parameters"`` or ``"_buffers"``, the attribute with the dictionary.
        name: of the tensor there.
    """

    def __init__(self, owner: Module, kind: str, name: str) -> None:
        self._owner, self.kind, self.name = weakref.ref(owner), kind, name

    @property
    def home(self) -> dict[str, Any]:
        """The dictionary in which the module holds its tensors of this kind now."""
        owner = self._owner()
        if owner is None:
            remedy = "Keep the module itself, or copy it as a whole."
            raise ArgumentError("module", None, f"the module of the filtered {self.name}, which is gone", remedy)
        return getattr(owner, self.kind)

    def of(self, owner: Module) -> Place:
        """The same place of a module that may be a shallow copy of the one that it was made for."""
        return self if self._owner() is owner else Place(owner, self.kind, self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of the module has its own."""
        return Place, (self._owner(), self.kind, self.name)


class NamedStack(parametrize.ParametrizationList):
    """The parametrizations of a tensor that its module goes on holding.

    torch's own list takes the tensor out of its module, so that it gets another name and another place in
    ``named_parameters`` and in the ``state_dict``: rules that go by names, such as timm's ``no_weight_decay`` and
    ``group_matcher``, the files of other libraries and optimisers that count parameters would miss it. Otherwise it is
    torch's list: ``original`` is the tensor, and further parametrizations can be registered on it.

    Args:
        modules: the parametrizations.
        place: where the owner holds the tensor.
        replaced: what to do when another tensor has taken its place.
    """

    def __init__(self, modules: Iterable[Module], place: Place, replaced: Replaced) -> None:
        ModuleList.__init__(self, modules)
        self.is_tensor, self.ntensors, self.unsafe = True, 1, True
        self.place, self._replaced = place, replaced
        self._lent: Tensor | None = None  # what FSDP's first version puts where it has taken the Parameter out
        self._passes = False  # whether the tensor is shown as it is, to whoever finds out what a new one stands for
        # a model without the filter is another function of the same tensors: this part of the state it does not know
        self.register_buffer("softened", torch.ones((), dtype=torch.uint8))

    @property
    def original(self) -> Tensor:  # type: ignore[override]
        """The tensor before its parametrizations."""
        return self.place.home[self.place.name] if self._lent is None else self._lent

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "original":
            self.place.home[self.place.name] = value
        else:
            super().__setattr__(name, value)

    def append(self, module: Module) -> NamedStack:
        """Let the tensor go through one more parametrization; ``ArgumentError`` for one that it cannot go through."""
        try:
            with torch.no_grad():
                copy.deepcopy(module)(self())  # not the module itself: some count their calls
        except Exception as error:
            expected = "a parametrization that one tensor can go through after its filter"
            remedy = "Register it before soften, which puts the filter after it, or bake the model first."
            raise ArgumentError("parametrization", module, expected, remedy) from error
        super().append(module)
        return self

    def forward(self) -> Tensor:
        """What the parametrizations make of the tensor."""
        value = self.original
        for module in () if self._passes else self:
            value = module(value)
        return value

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        state_dict.setdefault(f"{prefix}softened", self.softened)  # states of hard models have none
        super()._load_from_state_dict(state_dict, prefix, *args)

    def lend(self, value: Tensor | None) -> None:
        """Take what is put in the Parameter's place: FSDP's own shard, a view of what it has gathered, or a replica."""
        self._lent = None
        if isinstance(value, Parameter):
            self.place.home[self.place.name] = value
        else:
            self._lent = value

    def replace(self, owner: Module, value: Tensor) -> None:
        """Let another tensor take the place of the one that is held."""
        home, name = self.place.home, self.place.name
        if name not in home:  # as in a replica of DataParallel's, whose tensors are no Parameters
            self.lend(value)
            return
        if isinstance(value, WrittenThrough) and value.stands_for(self.original):
            return  # ``module.weight += change``, which has been written already
        if home is owner._parameters and not isinstance(value, Parameter):
            if value.shape != self.original.shape:
                remedy = "Assign a torch.nn.Parameter, for which the levels are found anew."
                raise ShapeError(name, value, f"a tensor of shape {tuple(self.original.shape)}", remedy)
            self.right_inverse(value)
            return
        old, home[name], self._passes = self.original, value, True
        try:
            self._replaced(owner, name, old)
        except EscnnSoftError:
            home[name] = old
            raise
        finally:
            self._passes = False
