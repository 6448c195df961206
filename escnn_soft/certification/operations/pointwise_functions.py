"""Functions of one number, applied everywhere; softmax; the larger or smaller of two activations."""

from __future__ import annotations

import math

from escnn_soft.certification.operation import Operation, Outcome
from escnn_soft.certification.rules.pointwise import constant_of
from escnn_soft.certification.rules.rule import not_permuting

__all__ = ["clamped", "extreme", "pointwise", "softened"]


def pointwise(operation: Operation) -> Outcome | str:
    """A function of one number that is known by its name."""
    name = operation.name
    parameters = _PARAMETERS.get(name, ())
    unknown = operation.kwargs.keys() - {"input", "inplace", *parameters}
    positions = 2 if name in _SLOPES else 1
    known = constant_of(name, float(operation.argument(1, *_SLOPES[name])) if name in _SLOPES else 1.0)
    if known is None:
        return f"no rule for torch.{name}: put it into a module and use register_lipschitz"
    if unknown or len(operation.args) > positions or (name == "celu" and operation.kwargs.get("alpha", 1.0) != 1.0):
        return f"torch.{name} with parameters that change its slope"
    if _mixed(operation):
        return f"torch.{name} of a field whose channels the group mixes"
    return Outcome((known[0],), operation.action, known[1])


def clamped(operation: Operation) -> Outcome | str:
    """Numbers cut off at two others."""
    limits = [*operation.args[1:], *(v for k, v in operation.kwargs.items() if k != "input")]
    if not all(limit is None or isinstance(limit, int | float) for limit in limits):
        return f"torch.{operation.name} between tensors"
    if _mixed(operation):
        return f"torch.{operation.name} of a field whose channels the group mixes"
    return Outcome((1.0,), operation.action)


def extreme(operation: Operation) -> Outcome | str:
    """|max(a, b) - max(a', b')| <= max(|a - a'|, |b - b'|), number by number."""
    if len(operation.tracked) != 2:
        return f"torch.{operation.name} of an activation and another tensor"
    if (reason := operation.apart()) is not None:
        return reason
    if _mixed(operation):
        return f"torch.{operation.name} of fields whose channels the group mixes"
    return Outcome((1.0, 1.0), operation.action)


def softened(operation: Operation) -> Outcome | str:
    """softmax, whose Jacobian is a covariance of norm at most 1/2, or its logarithm, of norm at most sqrt(n)."""
    x, dim = operation.tracked[0], operation.argument(1, "dim")
    if not operation.invariant or not isinstance(dim, int) or dim % x.ndim == 0:
        return f"torch.{operation.name} of a field that the group moves, or without dim"
    count = x.shape[dim]
    return Outcome((0.5 if operation.name == "softmax" else math.sqrt(count),), operation.action, 8.0 * count + 64.0)


def _mixed(operation: Operation) -> bool:
    """Whether an element mixes the channels, so that numbers are not only moved."""
    action = operation.action
    return any(not_permuting(action, row) for row in operation.rows if not action.is_identity(row))


_SLOPES = {"elu": ("alpha", 1.0), "leaky_relu": ("negative_slope", 0.01)}
"""Parameters that are the largest slope below zero, with their defaults."""

_PARAMETERS: dict[str, tuple[str, ...]] = {
    "elu": ("alpha",), "leaky_relu": ("negative_slope",), "celu": ("alpha",), "hardtanh": ("min_val", "max_val"),
}  # fmt: skip
"""Parameters of functions of one number, by name; others are refused, as they may change the slope."""
