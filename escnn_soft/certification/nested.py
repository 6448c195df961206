"""Fields and tensors in the nested arguments and results of modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from escnn.nn import GeometricTensor
from torch import Tensor

__all__ = ["fields", "tensor_of", "with_fields"]


def fields(*values: Any) -> Iterator[GeometricTensor | Tensor]:
    """All fields and tensors in nested arguments, in order."""
    for value in values:
        if isinstance(value, GeometricTensor | Tensor):
            yield value
        elif isinstance(value, dict):
            yield from fields(*value.values())
        elif isinstance(value, list | tuple):
            yield from fields(*value)


def with_fields(value: Any, tensors: Iterator[Tensor]) -> Any:
    """A copy of the same nested arguments with other tensors, in order."""
    if isinstance(value, GeometricTensor):
        return GeometricTensor(next(tensors), value.type)
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, dict):
        return {key: with_fields(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([with_fields(item, tensors) for item in value])
    return value


def tensor_of(x: GeometricTensor | Tensor) -> Tensor:
    """The numbers of a field, or of a plain tensor."""
    return x.tensor if isinstance(x, GeometricTensor) else x
