"""Which rule covers which module; users add rules for modules of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from escnn.nn import FieldType, GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft.errors import ArgumentError

__all__ = ["ACTIONS", "LIPSCHITZ", "by_class", "register_action", "register_lipschitz"]

LipschitzRule = Callable[[Module, "GeometricTensor | Tensor"], float]
ActionRule = Callable[[Module, FieldType], FieldType]
Entry = TypeVar("Entry")
Function = TypeVar("Function", bound=Callable[..., object])

LIPSCHITZ: dict[type[Module], LipschitzRule] = {}
ACTIONS: dict[type[Module], ActionRule] = {}


def register_lipschitz(cls: type[Module]) -> Callable[[Function], Function]:
    """Tell :func:`certify` how far a module of yours spreads two inputs apart.

    The function gets the module and its input (the input tells the size, nothing else has to depend on it) and returns
    L with ||f(y) - f(x)|| <= L ||y - x|| for every y and every x on the orbit of the input, sample by sample. That it
    is true is your claim; that the module is equivariant is checked on each input.

    Args:
        cls: a subclass of ``torch.nn.Module``. Subclasses that do not override ``forward`` are covered too.

    Returns:
        A decorator that leaves the function as it is.

    Raises:
        ArgumentError: if the class is no module, or has a constant already.

    Example:
        >>> import torch
        >>> class Half(torch.nn.Module):
        ...     def forward(self, x):
        ...         return 0.5 * x
        >>> @register_lipschitz(Half)
        ... def half(module, x):
        ...     return 0.5
    """
    return _decorator("register_lipschitz", LIPSCHITZ, cls)


def register_action(cls: type[Module]) -> Callable[[Function], Function]:
    """Tell :func:`certify` how the output of a module of yours transforms.

    The function gets the module and the type of its input and returns the type of its output. Modules with an
    ``out_type``, as escnn's have, need none.

    Args:
        cls: a subclass of ``torch.nn.Module``.

    Returns:
        A decorator that leaves the function as it is.

    Raises:
        ArgumentError: if the class is no module, or has an action already.

    Example:
        >>> import torch
        >>> class Negative(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x.type(-x.tensor)
        >>> @register_action(Negative)
        ... def negative(module, in_type):
        ...     return in_type
    """
    return _decorator("register_action", ACTIONS, cls)


def by_class(registry: dict[type[Module], Entry], module: Module) -> Entry | None:
    """The entry of the module's class or of the nearest base class whose ``forward`` it runs."""
    if "forward" in vars(module):  # replaced on the instance
        return None
    for cls in type(module).__mro__:
        if cls in registry:
            return registry[cls] if type(module).forward is cls.forward else None
    return None


def _decorator(name: str, registry: dict[type[Module], Entry], cls: type[Module]) -> Callable[[Function], Function]:
    if not (isinstance(cls, type) and issubclass(cls, Module)):
        raise ArgumentError("cls", cls, "a subclass of torch.nn.Module", f"Write @{name}(YourModule).")
    if cls in registry:
        expected, remedy = f"a class that {name} does not know yet", "Register each class once, where it is defined."
        raise ArgumentError("cls", cls, expected, remedy)

    def register(function: Function) -> Function:
        if not callable(function):
            raise ArgumentError("function", function, "a function", f"Write @{name}({cls.__name__}) above a def.")
        registry[cls] = function  # type: ignore[assignment]
        return function

    return register
