"""Copies, residual sums, and scaling."""

from __future__ import annotations

import math

from escnn_soft.certification.operation import Operation, Outcome
from escnn_soft.certification.rules.rule import not_permuting

__all__ = ["same", "scaled", "summed"]


def same(operation: Operation) -> Outcome | str:
    """The same numbers, or their negatives, possibly in another dtype."""
    cast = operation.result.dtype != operation.tracked[0].dtype
    return Outcome((1.0,), operation.action, 2.0 if cast else 0.0)


def summed(operation: Operation) -> Outcome | str:
    """Sums and differences of two activations, or of one and a number or constant that is invariant."""
    alpha = abs(float(operation.kwargs.get("alpha", 1.0)))
    if len(operation.args) > 2:
        return f"torch.{operation.name} in this form"
    if len(operation.tracked) == 2:
        first = operation.facts[0]
        reason = operation.apart()
        if reason is not None:
            return reason
        # alpha goes with the second argument; by their names they may come in any order
        ahead = operation.tracked[0] is operation.argument(0, "input")
        factors = (1.0, alpha) if ahead != (operation.name == "rsub") else (alpha, 1.0)
        return Outcome(factors, first.action, 4.0)
    other = operation.beside
    scale = max(1.0, alpha)
    if operation.result.shape != operation.tracked[0].shape:
        return f"torch.{operation.name} changes the shape"
    if isinstance(other, int | float):
        if any(not_permuting(operation.action, row) for row in operation.rows):
            return f"torch.{operation.name} of a number: it is not invariant under a group that mixes channels"
        return Outcome((scale,), operation.action, 4.0)
    if operation.constants(other) and operation.invariant:
        return Outcome((scale,), operation.action, 4.0)
    return f"torch.{operation.name} of an activation and a tensor that is no parameter, buffer or function of them"


def scaled(operation: Operation) -> Outcome | str:
    """Products and quotients with a number or constant."""
    if len(operation.tracked) == 2:
        return f"torch.{operation.name} of two activations has no Lipschitz constant"
    first, other = operation.argument(0, "input") is operation.tracked[0], operation.beside
    divides = operation.name in DIVISIONS
    if operation.result.shape != operation.tracked[0].shape or (divides and not first):
        return f"torch.{operation.name} in this form"
    if isinstance(other, int | float):
        factor = abs(float(other))
    elif operation.constants(other) and (other.numel() == 1 or operation.invariant):
        values = other.detach().abs().double()
        factor = float(values.min() if divides else values.max())
    else:
        return f"torch.{operation.name} by a tensor that is not a parameter of one number"
    if divides:
        factor = 1 / factor if factor else math.inf
    return Outcome((factor * (1 + 1e-12),), operation.action, 4.0)


DIVISIONS = ("div", "divide", "true_divide", "__itruediv__", "__truediv__")
"""Names of the division by the second argument."""
