"""What a network does apart from the values of its activations: the calls it makes, with their numbers."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from escnn.nn import GeometricTensor
from torch import Tensor

__all__ = ["Step", "described", "difference"]

Step = tuple[str, str, str]
"""A call: in which layer, of which function or layer, with which arguments."""


def described(value: Any, activations: Container[int]) -> str:
    """Nested arguments in words: numbers as they are, activations and other tensors by their shapes.

    Args:
        value: the arguments.
        activations: the identities of the activations.

    Returns:
        The words.
    """
    if isinstance(value, GeometricTensor):
        return f"field of {described(value.tensor, activations)}"
    if isinstance(value, Tensor):
        kind = "activation" if id(value) in activations else "tensor"
        return f"{kind} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {described(item, activations)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(described(item, activations) for item in value)})"
    plain = value is None or isinstance(value, int | float | complex | str | slice)
    return repr(value) if plain else type(value).__name__


def difference(first: Sequence[Step], second: Sequence[Step]) -> tuple[str, str] | None:
    """Where two runs on different values part: the layer, and what each did there; None if they do not."""
    for one, other in zip(first, second, strict=False):
        if one != other:
            return one[0], f"{one[1]}{one[2]} on x is {other[1]}{other[2]} on other values of the same shape"
    if len(first) != len(second):
        longer = max(first, second, key=len)[min(len(first), len(second))]
        return longer[0], f"it calls {longer[1]} on x or on other values of the same shape, not on both"
    return None
