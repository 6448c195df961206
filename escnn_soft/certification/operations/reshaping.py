"""The same numbers in another shape or order, selected, or side by side."""

from __future__ import annotations

from escnn_soft.certification.operation import Operation, Outcome
from escnn_soft.certification.tensor_action import Action

__all__ = ["beside", "dropped", "permuted", "reshaped", "selected"]


def reshaped(operation: Operation) -> Outcome | str:
    """Another shape of an invariant, or of a field at a single point."""
    x, result = operation.tracked[0], operation.result
    if result.dtype != x.dtype:
        return f"torch.{operation.name} to another dtype"
    if operation.invariant:
        return Outcome((1.0,), Action(operation.action.elements, None, pixels=False))
    if result.shape == x.shape:
        return Outcome((1.0,), operation.action)
    points = (x.ndim > 2 and x[0, 0].numel() == 1) or not operation.action.pixels
    if points and result.ndim >= 2 and result.shape[1] == x.shape[1] and result[0, 0].numel() == x[0, 0].numel():
        return Outcome((1.0,), Action(operation.action.elements, operation.action.type, pixels=False))
    return _lost(operation)


def _lost(operation: Operation) -> str:
    """Why nothing is known of what the group does to numbers in another order."""
    tokens = ": pixels in a row, as tokens, and tables of their positions are not followed"
    return f"torch.{operation.name} of a field that the group moves" + (tokens if operation.action.pixels else "")


def permuted(operation: Operation) -> Outcome | str:
    """Dimensions in another order, and numbers in another order along a dimension; samples stay where they are."""
    x = operation.tracked[0]
    if not operation.invariant:
        return _lost(operation)
    given = [d for a in (*operation.args[1:], *operation.kwargs.values()) for d in (a if _many(a) else (a,))]
    if not all(type(d) is int for d in given) or operation.name == "roll":
        return f"torch.{operation.name} in this form"
    dims = [d % x.ndim for d in given]
    if dims[0] != 0 if operation.name == "permute" else 0 in dims:
        return f"torch.{operation.name} mixes the samples of the batch"
    return Outcome((1.0,), Action(operation.action.elements, None, pixels=False))


def _many(argument: object) -> bool:
    return isinstance(argument, tuple | list)


def beside(operation: Operation) -> Outcome | str:
    """Activations side by side, along the channels."""
    parts = operation.argument(0, "tensors")
    axis = operation.argument(1, "dim", operation.kwargs.get("axis", 0))
    if axis % operation.result.ndim != 1 or len(parts) != len(operation.tracked):
        return "torch.cat, except of activations along the channels"
    action = operation.action.concatenated([fact.action for fact in operation.facts[1:]])
    if action is None:
        return "torch.cat of tensors on which the group acts differently"
    return Outcome((1.0,) * len(parts), action, aside=True)


def dropped(operation: Operation) -> Outcome | str:
    """Dropout in evaluation mode."""
    if operation.argument(2, "training", True) and operation.argument(1, "p", 0.5):
        return f"torch.{operation.name} in training"
    return Outcome((1.0,), operation.action)


def selected(operation: Operation) -> Outcome | str:
    """A part of an invariant, of every sample the same."""
    index = operation.args[1] if isinstance(operation.args[1], tuple) else (operation.args[1],)
    plain = all(i is None or i is Ellipsis or type(i) in (int, slice) for i in index)
    used = sum(i is not None and i is not Ellipsis for i in index)
    samples_stay = index[:1] == (slice(None),) if index[:1] != (Ellipsis,) else used < operation.tracked[0].ndim
    if plain and operation.invariant and samples_stay:
        return Outcome((1.0,), Action(operation.action.elements, None, pixels=False))
    return "indexing of a field that the group moves, or by a tensor"
