"""Parametrizations of a tensor that stays with its module, under its own name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.nn import Module
from torch.nn.utils import parametrize

from escnn_soft.convert.plain.named_stack import NamedStack, Place, Replaced
from escnn_soft.convert.plain.written_through import WrittenThrough
from escnn_soft.errors import ArgumentError

__all__ = ["keep_name"]

_SHARDS = "torch.distributed."
"""What exchanges Parameters for parts of them and back, and never computes with them: it gets them as they are."""


_TAKERS = frozenset({"torch.nn.utils.prune", "torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm"})
"""What takes a Parameter out of its module and computes a plain tensor in its place before each pass."""


def keep_name(owner: Module, tensor: str, parametrization: Module, replaced: Replaced) -> None:
    """Let a parameter or buffer of a module go through a parametrization, and keep its name and place.

    Args:
        owner: the module; its class becomes one of its own, as under torch's parametrizations.
        tensor: name of the parameter or buffer.
        parametrization: from the tensor to what the module sees.
        replaced: what to do when another tensor has taken its place.
    """
    kind = "_parameters" if tensor in owner._parameters else "_buffers"
    home: dict[str, Any] = getattr(owner, kind)
    held, fleeting = dict(home), set(owner._non_persistent_buffers_set)
    parametrize.register_parametrization(owner, tensor, parametrization, unsafe=True)  # it keeps shape and dtype
    home.clear()
    home.update(held)  # torch has taken the tensor out
    owner._non_persistent_buffers_set |= fleeting
    stacks: Any = owner.parametrizations
    stacks[tensor] = NamedStack([parametrization], Place(owner, kind, tensor), replaced)
    cls: Any = type(owner)
    computed = vars(cls)[tensor].fget
    shown = property(
        lambda self: _seen(self, tensor, computed), fdel=lambda self: self.parametrizations[tensor].lend(None)
    )
    setattr(cls, tensor, shown)
    cls.__setattr__, cls.__delattr__, cls._load_from_state_dict = _set, _delete, _load


def _seen(owner: Module, tensor: str, computed: Callable[[Module], Tensor]) -> Tensor:
    """What code sees of a tensor: its value, which passes writes on unless that code is known to write nothing."""
    if torch.compiler.is_compiling():
        return computed(owner)
    module, function = _caller(inspect.currentframe(), 2)  # past the property
    stack = _stack(owner, tensor)
    assert stack is not None
    if module in _TAKERS:
        _refuse(owner, tensor)
    if module.startswith(_SHARDS):
        return stack.original
    value = computed(owner)
    if type(value) is not Tensor or value is stack.original or value.is_meta:
        return value
    reads = module.startswith("escnn_soft.") or (module.startswith("torch.") and function == "forward")
    if reads or is_functorch_wrapped_tensor(value) or is_tracing():
        return value
    return WrittenThrough.of(value, stack.original, stack)


def _stack(owner: Module, tensor: str) -> NamedStack | None:
    """The parametrizations of a module's tensor, in the hands of just this module: a shallow copy has the same ones."""
    stacks = vars(owner).get("_modules", {}).get("parametrizations")  # a copy has no modules at first
    stack = None if stacks is None else stacks._modules.get(tensor)
    if not isinstance(stack, NamedStack):
        return None
    stack.place = stack.place.of(owner)
    return stack


def _caller(frame: Any, up: int) -> tuple[str, str]:
    """Names of the module and the function that ask for an attribute, or set it."""
    for _ in range(up):
        frame = frame.f_back
    return frame.f_globals.get("__name__", ""), frame.f_code.co_name


def _set(owner: Any, name: str, value: Any) -> None:
    """``module.weight = value``: a Parameter takes the place of the old one, as in any module."""
    stack = _stack(owner, name)
    if stack is None:
        _class(owner).__setattr__(owner, name, value)
    elif not isinstance(value, Tensor):
        remedy = "Take the dial off first, with bake or harden."
        raise ArgumentError(f"{_class(owner).__name__}.{name}", value, "a tensor, under a filter", remedy)
    elif _caller(inspect.currentframe(), 1)[0].startswith(_SHARDS):
        stack.lend(value)
    else:
        stack.replace(owner, value)


def _delete(owner: Any, name: str) -> None:
    """``del module.weight``: for those alone who bring it back, as the filter has nothing to filter meanwhile."""
    if _stack(owner, name) is not None and not _caller(inspect.currentframe(), 1)[0].startswith(_SHARDS):
        _refuse(owner, name)
    _class(owner).__delattr__(owner, name)


def _refuse(owner: Any, name: str) -> NoReturn:
    """Refuse to take a tensor out of its module: what would be computed in its place passes no filter."""
    expected = "tensors that stay with their module under a filter, not pruned, normed or deleted"
    remedy = (
        "Bake or harden the model first; or use a parametrization of torch.nn.utils.parametrize, "
        "and torch.func.functional_call for other values."
    )
    raise ArgumentError("tensor", f"{_class(owner).__name__}.{name}", expected, remedy)


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
