"""What a network does apart from the values of its activations: the calls it makes, with their numbers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from escnn.nn import GeometricTensor
from torch import Tensor

from escnn_soft.certification.fact import Fact
from escnn_soft.certification.nested import fields, tensor_of
from escnn_soft.certification.tensor_action import Action

__all__ = ["Step", "difference", "noted"]

Known = Mapping[int, tuple[Tensor, int, Fact]]
"""What is known of the activations, by their identities."""


@dataclass(frozen=True)
class Step:
    """A call.

    Attributes:
        layer: in which it was made.
        name: of the function or layer.
        words: its arguments: numbers as they are, activations as such, other tensors by shape and checksum.
        shapes: of the activations among them.
        actions: of the group on these.
    """

    layer: str
    name: str
    words: str
    shapes: tuple[tuple[int, ...], ...]
    actions: tuple[Action, ...] = field(compare=False, repr=False)

    def moved(self, row: int) -> Step:
        """What the call has to be where the input was transformed by the element of a row."""
        pairs = zip(self.actions, self.shapes, strict=True)
        shapes = tuple(action.moved_shape(row, shape) for action, shape in pairs)
        return Step(self.layer, self.name, self.words, shapes, self.actions)

    def __str__(self) -> str:
        """The call and the shapes of its activations."""
        return f"{self.name}{self.words} of shapes {', '.join(map(str, self.shapes))}"


def noted(layer: str, name: str, args: Any, kwargs: Any, known: Known) -> Step:
    """A call as a step.

    Args:
        layer: in which it is made.
        name: of the function or layer.
        args: what it is called with.
        kwargs: likewise.
        known: the activations.

    Returns:
        The step.
    """
    with torch._C.DisableTorchFunction():
        found = [known[id(t)] for t in map(tensor_of, fields(args, kwargs)) if id(t) in known]
        # sizes of a result may be swapped, and show in the calls that follow
        words = _described((args[:1], {}) if name in ("view", "reshape") else (args, kwargs), known)
        shapes = tuple(tuple(tensor.shape) for tensor, _, _ in found)
    return Step(layer, name, words, shapes, tuple(fact.action for _, _, fact in found))


def difference(first: Sequence[Step], second: Sequence[Step]) -> tuple[str, str] | None:
    """Where two runs on different values part: the layer, and what each did there; None if they do not."""
    for one, other in zip(first, second, strict=False):
        if one != other:
            return one.layer, f"{one} on x is {other} on other values"
    if len(first) != len(second):
        longer = max(first, second, key=len)[min(len(first), len(second))]
        return longer.layer, f"it calls {longer.name} on x or on other values, not on both"
    return None


def _described(value: Any, known: Known) -> str:
    """Nested arguments in words."""
    if isinstance(value, GeometricTensor):
        return f"field of {_described(value.tensor, known)}"
    if isinstance(value, Tensor):
        return "activation" if id(value) in known else f"tensor {tuple(value.shape)} {_checksum(value):08x}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_described(item, known)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(_described(item, known) for item in value)})"
    plain = value is None or isinstance(value, int | float | complex | str | slice)
    return repr(value) if plain else type(value).__name__


def _checksum(tensor: Tensor) -> int:
    """Of what a tensor holds, bit by bit."""
    return zlib.crc32(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
