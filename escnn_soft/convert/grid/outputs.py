"""The tensors in what a model returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TypeAlias

from escnn.nn import GeometricTensor
from torch import Tensor

__all__ = ["Output", "outputs_of", "plain"]

Output: TypeAlias = Tensor | GeometricTensor


def outputs_of(returned: object) -> dict[str, Output]:
    """The tensors in what a model returned, copied: a model may write the next ones over them.

    Args:
        returned: a tensor, plain or escnn's, or dictionaries, sequences and dataclasses of such.

    Returns:
        Tensors by the keys that lead to them, joined by dots; a tensor alone has no name.
    """
    return dict(_found("", returned))


def plain(output: Output) -> Tensor:
    """A tensor without its field type."""
    return output if isinstance(output, Tensor) else output.tensor


def _found(name: str, value: object) -> Iterator[tuple[str, Output]]:
    if isinstance(value, Tensor):
        yield name, value.clone()
    elif isinstance(value, GeometricTensor):
        yield name, GeometricTensor(value.tensor.clone(), value.type, value.coords)
    else:
        for key, part in _parts(value):
            yield from _found(f"{name}.{key}" if name else str(key), part)


def _parts(value: object) -> list[tuple[object, object]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if is_dataclass(value):
        return [(each.name, getattr(value, each.name)) for each in fields(value)]
    return []
