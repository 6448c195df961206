"""Exchanging layers of a model for others, without losing what else is attached to them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

from escnn.kernels import KernelBasis
from escnn.nn import FieldType
from torch import Tensor
from torch.jit import ScriptModule
from torch.nn import Module
from torch.nn.utils.parametrize import is_parametrized

__all__ = ["become", "carry", "carry_hooks", "own_class", "structural_copy"]

AnyModule = TypeVar("AnyModule", bound=Module)

_HOOKS = tuple(name for name in vars(Module()) if "hook" in name)
"""Where torch keeps a module's hooks, of every kind."""


def structural_copy(model: AnyModule) -> AnyModule:
    """A deep copy, of escnn's layers in either mode, that shares Parameters and what never changes: types and bases."""
    memo: dict[int, Any] = {id(kept): kept for kept in _shared(model)}
    # escnn's own layers keep kernels with their graph in evaluation mode, torch's older weight norm its result
    memo.update((id(each), each.detach().clone()) for each in _computed(model))
    replica = copy.deepcopy(model, memo)
    originals = dict(model.named_modules())
    for name, module in replica.named_modules():
        own_class(module)
        if isinstance(module, ScriptModule):  # copies itself, whatever the memo says
            _share(originals[name], module)
    return replica


def _share(scripted: Module, replica: Module) -> None:
    """Let a copy of a scripted module have its Parameters."""
    for name, parameter in scripted.named_parameters(recurse=False):
        setattr(replica, name, parameter)


def own_class(module: Module, base: type[Module] | None = None) -> None:
    """Give a parametrized module a class of its own, perhaps of another base: torch's is shared with copies."""
    if is_parametrized(module):
        cls = type(module)
        content = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
        module.__class__ = type(cls.__name__, cls.__bases__ if base is None else (base,), content)


def become(old: Module, new: Module) -> None:
    """Turn a layer into another: class and content change, the object stays.

    Every reference to the layer goes on working, wherever it is: in its parent, or in several if it is shared, in
    lists, in hooks and their handles, and with the caller if the layer is the whole model.

    Args:
        old: the layer that changes.
        new: what it turns into; not to be used afterwards.
    """
    object.__setattr__(old, "__class__", type(new))
    content = dict(vars(new))
    vars(old).clear()
    vars(old).update(content)


def carry(old: Module, new: Module) -> None:
    """Attach to a new layer what was attached to an old one: hooks, and all that its own class does not know."""
    carry_hooks(old, new)
    known = set(dir(new))
    for kind in ("_parameters", "_buffers", "_modules"):
        vars(new)[kind].update((name, value) for name, value in vars(old)[kind].items() if name not in known)
    new._non_persistent_buffers_set |= {name for name in old._non_persistent_buffers_set if name not in known}
    vars(new).update((name, value) for name, value in vars(old).items() if name not in known)


def carry_hooks(old: Module, new: Module) -> None:
    """Attach to a new layer the hooks of an old one."""
    for name in _HOOKS:  # the dictionaries themselves: handles refer to them
        vars(new)[name] = vars(old)[name]


def _computed(model: Module) -> Iterator[Tensor]:
    """Tensors that modules hold with their graph, which cannot be copied."""
    for module in model.modules():
        held = (*module._buffers.values(), *vars(module).values())
        yield from (each for each in held if isinstance(each, Tensor) and not each.is_leaf)


def _shared(model: Module) -> Iterator[object]:
    yield from model.parameters()
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, FieldType):
                yield from (value, value.gspace, value.fibergroup, *value.representations)
            elif isinstance(value, KernelBasis):
                yield value
