"""Parametrizations of a tensor that stays with its module, under its own name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.nn import Module, ModuleList, Parameter
from torch.nn.utils import parametrize

from escnn_soft.convert.plain.written_through import WrittenThrough
from escnn_soft.errors import ArgumentError, EscnnSoftError, ShapeError

__all__ = ["NamedStack", "Replaced", "keep_name"]

Replaced: TypeAlias = Callable[[Module, str, Tensor], None]
"""Called with the owner, the tensor's name and the old tensor, once another has its place; what it raises undoes it."""


_SHARDS = "torch.distributed."
"""What exchanges Parameters for parts of them and back, and never computes with them: it gets them as they are."""


class NamedStack(parametrize.ParametrizationList):
    """The parametrizations of a tensor that its module goes on holding.

    torch's own list takes the tensor out of its module, so that it gets another name and another place in
    ``named_parameters`` and in the ``state_dict``: rules that go by names, such as timm's ``no_weight_decay`` and
    ``group_matcher``, the files of other libraries and optimisers that count parameters would miss it. Otherwise it is
    torch's list: ``original`` is the tensor, and further parametrizations can be registered on it.

    Args:
        modules: the parametrizations.
        home: the dictionary in which the owner holds the tensor: its parameters or its buffers.
        name: of the tensor there.
        replaced: what to do when another tensor has taken its place.
    """

    def __init__(self, modules: Iterable[Module], home: dict[str, Any], name: str, replaced: Replaced) -> None:
        ModuleList.__init__(self, modules)
        self.is_tensor, self.ntensors, self.unsafe = True, 1, True
        # the dictionary, not the owner: no cycle, and a deep copy of the owner has the copy's own
        self._home, self._name, self._replaced = home, name, replaced
        self._lent: Tensor | None = None  # what FSDP's first version puts where it has taken the Parameter out
        self._passes = False  # whether the tensor is shown as it is, to whoever finds out what a new one stands for
        # a model without the filter is another function of the same tensors: this part of the state it does not know
        self.register_buffer("softened", torch.ones((), dtype=torch.uint8))

    @property
    def original(self) -> Tensor:  # type: ignore[override]
        """The tensor before its parametrizations."""
        return self._home[self._name] if self._lent is None else self._lent

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "original":
            self._home[self._name] = value
        else:
            super().__setattr__(name, value)

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
        """Take what FSDP puts in the Parameter's place: its own shard, or a view of what it has gathered."""
        self._lent = None
        if isinstance(value, Parameter):
            self._home[self._name] = value
        else:
            self._lent = value

    def replace(self, owner: Module, value: Tensor) -> None:
        """Let another tensor take the place of the one that is held."""
        if isinstance(value, WrittenThrough) and value.stands_for(self.original):
            return  # ``module.weight += change``, which has been written already
        if self._home is owner._parameters and not isinstance(value, Parameter):
            if value.shape != self.original.shape:
                remedy = "Assign a torch.nn.Parameter, for which the levels are found anew."
                raise ShapeError(self._name, value, f"a tensor of shape {tuple(self.original.shape)}", remedy)
            self.right_inverse(value)
            return
        old, self._home[self._name], self._passes = self.original, value, True
        try:
            self._replaced(owner, self._name, old)
        except EscnnSoftError:
            self._home[self._name] = old
            raise
        finally:
            self._passes = False


def keep_name(owner: Module, tensor: str, parametrization: Module, replaced: Replaced) -> None:
    """Let a parameter or buffer of a module go through a parametrization, and keep its name and place.

    Args:
        owner: the module; its class becomes one of its own, as under torch's parametrizations.
        tensor: name of the parameter or buffer.
        parametrization: from the tensor to what the module sees.
        replaced: what to do when another tensor has taken its place.
    """
    home: dict[str, Any] = owner._parameters if tensor in owner._parameters else owner._buffers
    held, fleeting = dict(home), set(owner._non_persistent_buffers_set)
    parametrize.register_parametrization(owner, tensor, parametrization, unsafe=True)  # it keeps shape and dtype
    home.clear()
    home.update(held)  # torch has taken the tensor out
    owner._non_persistent_buffers_set |= fleeting
    stacks: Any = owner.parametrizations
    stacks[tensor] = NamedStack([parametrization], home, tensor, replaced)
    cls: Any = type(owner)
    computed = vars(cls)[tensor].fget
    shown = property(
        lambda self: _seen(self, self.parametrizations[tensor], computed),
        fdel=lambda self: self.parametrizations[tensor].lend(None),
    )
    setattr(cls, tensor, shown)
    cls.__setattr__, cls._load_from_state_dict = _set, _load


def _seen(owner: Module, stack: NamedStack, computed: Callable[[Module], Tensor]) -> Tensor:
    """What code sees of a tensor: its value, which passes writes on unless that code is known to write nothing."""
    if torch.compiler.is_compiling():
        return computed(owner)
    module, function = _caller(inspect.currentframe(), 2)  # past the property
    if module.startswith(_SHARDS):
        return stack.original
    value = computed(owner)
    if type(value) is not Tensor or value is stack.original or value.is_meta:
        return value
    reads = module.startswith("escnn_soft.") or (module.startswith("torch.") and function == "forward")
    if reads or is_functorch_wrapped_tensor(value) or is_tracing():
        return value
    return WrittenThrough.of(value, stack.original, stack)


def _caller(frame: Any, up: int) -> tuple[str, str]:
    """Names of the module and the function that ask for an attribute, or set it."""
    for _ in range(up):
        frame = frame.f_back
    return frame.f_globals.get("__name__", ""), frame.f_code.co_name


def _set(owner: Any, name: str, value: Any) -> None:
    """``module.weight = value``: a Parameter takes the place of the old one, as in any module."""
    stacks = vars(owner).get("_modules", {}).get("parametrizations")  # a copy has no modules at first
    stack = None if stacks is None else stacks._modules.get(name)
    if isinstance(stack, NamedStack) and isinstance(value, Tensor):
        if _caller(inspect.currentframe(), 1)[0].startswith(_SHARDS):
            stack.lend(value)
        else:
            stack.replace(owner, value)
    elif isinstance(stack, NamedStack):
        remedy = "Take the dial off first, with bake or harden."
        raise ArgumentError(f"{_class(owner).__name__}.{name}", value, "a tensor, under a filter", remedy)
    else:
        _class(owner).__setattr__(owner, name, value)


def _load(owner: Any, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
    """Read states with torch's name for the tensor too, which ours had until version 0.2."""
    for name, stack in owner.parametrizations.items():
        old = f"{prefix}parametrizations.{name}.original"
        if isinstance(stack, NamedStack) and old in state_dict:
            state_dict[prefix + name] = state_dict.pop(old)
    _class(owner)._load_from_state_dict(owner, state_dict, prefix, *args)


def _class(owner: Any) -> Any:
    """The owner's class before it was parametrized."""
    return type(owner).__bases__[0]
