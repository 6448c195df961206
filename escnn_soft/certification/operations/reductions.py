"""Reductions over channels and pixels: means, sums, extrema, norms and standard deviations."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from escnn_soft.certification.operation import Operation, Outcome
from escnn_soft.certification.rules.rule import not_permuting
from escnn_soft.certification.tensor_action import Action

__all__ = ["axes_and_action", "correction_of", "reduced"]

_FACTORS: dict[str, Callable[[int], float]] = {
    "mean": lambda n: 1 / math.sqrt(n),
    "sum": math.sqrt,
    "amax": lambda n: 1.0,
    "amin": lambda n: 1.0,
    "max": lambda n: 1.0,
    "min": lambda n: 1.0,
    "norm": lambda n: 1.0,
    "vector_norm": lambda n: 1.0,
    "linalg_vector_norm": lambda n: 1.0,
    "logsumexp": lambda n: 1.0,
}
"""Lipschitz constant of a reduction of n numbers to one; that of logsumexp is the norm of a softmax, at most 1."""

_NORMS = ("norm", "vector_norm", "linalg_vector_norm")
"""Names of the norm over dimensions."""

_EXACT = ("amax", "amin", "max", "min")
"""Reductions that choose one of the numbers, and do not round."""


def reduced(operation: Operation) -> Outcome | str:
    """A reduction over some dimensions, with a constant that depends only on how many numbers go into one."""
    if operation.name in _NORMS and _order(operation) != 2.0:
        return f"torch.{operation.name} of another order than 2"
    found = axes_and_action(operation)
    if isinstance(found, str):
        return found
    axes, action = found
    count = math.prod(operation.tracked[0].shape[d] for d in axes)
    factor = _FACTORS[operation.name](count) if operation.name in _FACTORS else _deviation(operation, count)
    # |sum of n terms| loses n u sum |terms| <= n u sqrt(n) |x|
    return Outcome((factor,), action, 0.0 if operation.name in _EXACT else 2.0 * count + 64.0)


def axes_and_action(operation: Operation) -> tuple[set[int], Action] | str:
    """The dimensions that a reduction is over, and the action on what is left; or why there is none."""
    axes = _axes_of(operation)
    if isinstance(axes, str):
        return axes
    action = _reduced_action(operation, axes)
    return action if isinstance(action, str) else (axes, action)


def _axes_of(operation: Operation) -> set[int] | str:
    """The dimensions that are reduced, or why there are none to speak of."""
    x = operation.tracked[0]
    position = 2 if operation.name in _NORMS else 1
    dims = operation.argument(position, "dim", operation.kwargs.get("axis"))
    if dims is None or isinstance(dims, bool | torch.dtype) or dims in ((), []):
        return f"torch.{operation.name} over everything mixes the samples of the batch"
    if not isinstance(dims, int | tuple | list):
        return f"torch.{operation.name} in this form"
    axes = {int(d) % x.ndim for d in ((dims,) if isinstance(dims, int) else dims)}
    return f"torch.{operation.name} mixes the samples of the batch" if 0 in axes else axes


def _reduced_action(operation: Operation, axes: set[int]) -> Action | str:
    """How the group acts on what is left, or why that is no action."""
    still = Action(operation.action.elements, None, pixels=False)
    if operation.still:
        return still
    action = _moved_action(operation, axes)
    return still if isinstance(action, str) and operation.invariant else action


def _moved_action(operation: Operation, axes: set[int]) -> Action | str:
    """As above, where something moves."""
    # pixels that move are reduced all together; channels where the group permutes them, or, by a norm, is orthogonal
    action, x, name = operation.action, operation.tracked[0], operation.name
    refused = f"torch.{name} over dimensions {sorted(axes)} of a field that the group moves"
    pixels = set(range(2, x.ndim))
    if action.pixels and axes & pixels not in (set(), pixels):
        return refused
    permuted = not any(not_permuting(action, row) for row in operation.rows)
    if 1 not in axes:
        if name not in ("mean", "sum") and not permuted:
            return f"torch.{name} of a field whose channels the group mixes"
        return Action(action.elements, action.type, action.pixels and not axes)
    if not permuted and not (name in _NORMS and axes - pixels == {1}):
        return f"torch.{name} over channels that the group mixes"
    if not action.pixels or axes >= pixels:
        return Action(action.elements, None, pixels=False)
    if operation.result.ndim != x.ndim:
        return f"{refused}: keep the dimension of the channels"
    assert action.type is not None
    space = action.type.gspace
    return Action(action.elements, space.type(space.trivial_repr), pixels=True)


def correction_of(operation: Operation) -> float:
    """What ``std`` and ``var`` subtract from the number of numbers."""
    unbiased = operation.argument(2, "unbiased", True)
    return float(operation.kwargs.get("correction", 1 if unbiased else 0) or 0)


def _deviation(operation: Operation, count: int) -> float:
    """A standard deviation is the norm of what is left without the mean, over sqrt(n - correction)."""
    left = count - correction_of(operation)
    return 1 / math.sqrt(left) if left > 0 else math.inf


def _order(operation: Operation) -> float | None:
    order = operation.argument(1, "p" if operation.name == "norm" else "ord", 2.0)
    if order in ("fro", None):
        return 2.0
    return float(order) if isinstance(order, int | float) else None
