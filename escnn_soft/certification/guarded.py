"""A model as it is run again, on x and on other inputs, without a trace of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from escnn.nn import FieldType, GeometricTensor
from torch import Tensor, nn

from escnn_soft.certification.nested import tensor_of
from escnn_soft.certification.network_constants import NetworkConstants

__all__ = ["Guarded", "image_of", "preserved"]


@dataclass(frozen=True, eq=False)
class Guarded:
    """A model, and how it is run.

    Attributes:
        model: the model, or one that stands for it in another precision.
        type: of its input.
        plain: whether it takes a plain tensor.
    """

    model: nn.Module
    type: FieldType
    plain: bool

    def __call__(self, x: Tensor) -> object:
        """Its output on a copy of a tensor."""
        return self.model(x.clone() if self.plain else GeometricTensor(x.clone(), self.type))


@contextmanager
def preserved(constants: NetworkConstants, x: Tensor) -> Iterator[None]:
    """The generators of random numbers and the model's tensors are left as they were before this context."""
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        try:
            yield
        finally:
            constants.restore()


def image_of(run: Callable[[Tensor], object], x: Tensor, out: GeometricTensor | Tensor) -> Tensor | str:
    """The model's output as a tensor, or why it is not comparable."""
    try:
        image = run(x)
    except Exception as error:  # whatever a model may raise
        return f"it cannot be run on the transformed input: {type(error).__name__}: {error}"
    if not isinstance(image, GeometricTensor | Tensor) or isinstance(image, Tensor) != isinstance(out, Tensor):
        return f"it returns a {type(image).__name__} where a {type(out).__name__} was expected"
    if isinstance(image, GeometricTensor) and isinstance(out, GeometricTensor) and image.type != out.type:
        return "it returns a field of another type"
    return tensor_of(image).clone()
