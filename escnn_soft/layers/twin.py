"""Which soft class stands in for which hard one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from escnn.nn import EquivariantModule
from torch.nn import Module, Parameter

from escnn_soft.dial import Policy
from escnn_soft.errors import ArgumentError, EscnnSoftError
from escnn_soft.escnn import Options
from escnn_soft.grading import Chain
from escnn_soft.layers.soft import SoftLayer

__all__ = ["Twin", "plain_twin", "register_soft", "soft_twin", "twin_of"]

SoftClass = TypeVar("SoftClass", bound=type[SoftLayer])


@dataclass(frozen=True)
class Twin:
    """A soft class and what its ``from_hard`` may be given.

    Attributes:
        soft: the class.
        candidates: from a hard layer to the options worth trying, in this order.
    """

    soft: Any
    candidates: Callable[[EquivariantModule], Iterable[Options]]


_TWINS: dict[type[EquivariantModule], Twin] = {}


def _no_options(layer: EquivariantModule) -> Iterator[Options]:
    yield {}


def register_soft(
    cls: type[EquivariantModule], *, candidates: Callable[[EquivariantModule], Iterable[Options]] = _no_options
) -> Callable[[SoftClass], SoftClass]:
    """Tell :func:`soften` which soft class stands in for a hard class.

    The soft class is a :class:`SoftLayer` that is also a subclass of the hard one, so that ``isinstance`` and type
    checks go on holding, and has a class method ``from_hard(layer, softness, **options)`` that computes the same
    function as the layer and holds its Parameter objects; ``chain`` and ``rank`` are among its options if
    :func:`soften` is given one. Subclasses of the hard class are not covered: they may compute something else.

    Args:
        cls: the hard class, a subclass of ``escnn.nn.EquivariantModule``.
        candidates: from a hard layer to the options of ``from_hard`` worth trying, best first, for hard classes that
            do not store all their arguments; the first that ``from_hard`` accepts is taken.

    Returns:
        A decorator that leaves the soft class as it is.

    Raises:
        ArgumentError: if the class is no equivariant module or has a soft class already, or if the soft class does
            not fit it.

    Example:
        >>> from escnn import gspaces, nn
        >>> from escnn_soft import SoftR2Conv, soften
        >>> class MyConv(nn.R2Conv):
        ...     pass
        >>> @register_soft(MyConv)
        ... class SoftMyConv(SoftR2Conv, MyConv):
        ...     pass
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> type(soften(MyConv(field, field, kernel_size=3), 0.5)).__name__
        'SoftMyConv'
    """
    if not (isinstance(cls, type) and issubclass(cls, EquivariantModule)):
        remedy = "Write @register_soft(YourLayer) above the soft class."
        raise ArgumentError("cls", cls, "a subclass of escnn.nn.EquivariantModule", remedy)
    if issubclass(cls, SoftLayer):
        raise ArgumentError("cls", cls, "a class that is not soft itself", "Name the hard class.")
    if cls in _TWINS:
        expected = f"a class without a soft class (it has {_TWINS[cls].soft.__name__})"
        raise ArgumentError("cls", cls, expected, "Register each class once, where its soft class is defined.")

    def register(soft: SoftClass) -> SoftClass:
        if not (isinstance(soft, type) and issubclass(soft, SoftLayer) and issubclass(soft, cls)):
            remedy = f"Write class {getattr(soft, '__name__', 'Soft')}(SoftLayer, {cls.__name__})."
            raise ArgumentError("soft", soft, f"a subclass of SoftLayer and {cls.__name__}", remedy)
        if not callable(getattr(soft, "from_hard", None)):
            remedy = "Add a class method from_hard(layer, softness) that returns the soft layer."
            raise ArgumentError("soft", soft, "a class with from_hard", remedy)
        _TWINS[cls] = Twin(soft, candidates)
        return soft

    return register


def plain_twin(layer: EquivariantModule) -> Module | None:
    """The convolution of torch's that computes what a hard convolution does now; None for other layers."""
    twin = _nearest(layer)
    if twin is None or not hasattr(twin.soft, "plain_with"):
        return None
    with torch.no_grad():
        plain: Module = twin.soft.plain_with(layer, *layer.expand_parameters())
    return plain


def _nearest(layer: EquivariantModule) -> Twin | None:
    return next((_TWINS[cls] for cls in type(layer).__mro__ if cls in _TWINS), None)


def twin_of(module: object) -> Twin | None:
    """The twin of a module's own class; subclasses may compute something else, so they have none."""
    return _TWINS.get(type(module))


def soft_twin(
    layer: EquivariantModule, softness: float | Policy, chain: Chain | None = None, rank: int | None = None
) -> SoftLayer:
    """The soft twin of a hard layer: the same function, the same Parameter objects.

    Args:
        layer: a layer whose class has a twin, or extends one that has.
        softness: a float in [0, 1] or a policy.
        chain: subgroups to relax to, or None.
        rank: of the soft coefficients, or None.

    Returns:
        The soft layer, from the first of the registered candidates that fits.

    Raises:
        ArgumentError: if no class of it has a twin.
        EscnnSoftError: if none fits; the reason of the first.
    """
    twin = _nearest(layer)
    if twin is None:
        remedy = "Register one with @register_soft(YourLayer); certify(model, x) covers networks and other modules."
        raise ArgumentError("layer", layer, "a layer that has a soft twin", remedy)
    if not isinstance(layer._parameters.get("weights"), Parameter):
        remedy = "Take the pruning or parametrization off first; a soft layer can be pruned and parametrized itself."
        raise ArgumentError("layer", layer, "a layer whose weights are a Parameter", remedy)
    further = {name: value for name, value in (("chain", chain), ("rank", rank)) if value is not None}
    reasons = []
    for candidate in twin.candidates(layer):
        try:
            soft: SoftLayer = twin.soft.from_hard(layer, softness, **candidate, **further)
        except EscnnSoftError as error:
            reasons.append(error)
        else:
            return soft
    raise reasons[0]
