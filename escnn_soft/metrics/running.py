"""Running a model on batches, and on transformed batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from escnn.nn import GeometricTensor
from torch import Tensor
from torch.nn import Module

from escnn_soft.dial import evaluated
from escnn_soft.errors import ArgumentError
from escnn_soft.metrics.transformation import Transformation

__all__ = ["Batch", "Model", "Run", "checked", "labelled", "means_over_samples", "nonempty", "running", "tensor"]

Batch = Any
"""A tensor, a GeometricTensor, or whatever the model takes and the transformations act on."""

Model = Callable[[Any], Any]


class Run:
    """A model on one batch: f(x), f(g x), g f(x), and f(g^-1 g x); f(x) is computed once for all exact elements."""

    def __init__(self, model: Model, x: Batch) -> None:
        self._model, self._x = model, x
        self._plain: Any = None

    def plain(self) -> Any:
        """f(x)."""
        if self._plain is None:
            self._plain = self._model(_copied(self._x))
        return self._plain

    def moved(self, transformation: Transformation) -> Any:
        """f(g x)."""
        return self._model(transformation.on_input(self._windowed(transformation)))

    def both_sides(self, transformation: Transformation) -> tuple[Tensor, Tensor]:
        """f(g x) and g f(x), ready to be compared."""
        return _framed(self.moved(transformation), transformation), _framed(
            transformation.on_output(self._still(transformation)), transformation
        )

    def there_and_back(self, transformation: Transformation) -> Any:
        """f(g^-1 g x): of the transformation, only its interpolation is left."""
        assert transformation.interpolation is not None
        x = self._windowed(transformation)
        return self._model(transformation.interpolation.undo_input(transformation.on_input(x)))

    def excuses(self, transformation: Transformation) -> tuple[Tensor, Tensor, Tensor]:
        """f(g^-1 g x), g^-1 g f(x) and f(x), ready to be compared."""
        assert transformation.interpolation is not None
        y = self._still(transformation)
        back = transformation.interpolation.undo_output(transformation.on_output(y))
        first, second, third = (_framed(z, transformation) for z in (self.there_and_back(transformation), back, y))
        return first, second, third

    def _windowed(self, transformation: Transformation) -> Batch:
        x = _copied(self._x)
        return x if transformation.interpolation is None else transformation.interpolation.input_window(x)

    def _still(self, transformation: Transformation) -> Any:
        return self.plain() if transformation.exact else self._model(self._windowed(transformation))


def _copied(x: Batch) -> Batch:
    """A model that writes in place shall leave the batch alone."""
    if isinstance(x, GeometricTensor):
        return GeometricTensor(x.tensor.clone(), x.type)
    return x.clone() if isinstance(x, Tensor) else x


def _framed(y: Any, transformation: Transformation) -> Tensor:
    return tensor(y if transformation.interpolation is None else transformation.interpolation.output_window(y))


def tensor(y: Any) -> Tensor:
    """The tensor that a model returned; refuses anything else."""
    y = y.tensor if isinstance(y, GeometricTensor) else y
    if not isinstance(y, Tensor):
        remedy = "Wrap the model in a function that returns the tensor to be measured."
        raise ArgumentError("model(x)", y, "one tensor", remedy)
    return y


@contextmanager
def running(model: Model) -> Iterator[None]:
    """Evaluation mode and no gradients inside."""
    with torch.no_grad(), evaluated(model) if isinstance(model, Module) else nullcontext():
        yield


def checked(model: Model, moves: Sequence[Transformation]) -> tuple[Transformation, ...]:
    """The transformations, of which there is at least one; refuses what is none, and what is no model."""
    if not callable(model):
        raise ArgumentError("model", model, "a module or a function of a batch", "Pass the model itself.")
    moves = tuple(moves) if isinstance(moves, Sequence) else (moves,)
    if not moves or not all(isinstance(move, Transformation) for move in moves):
        remedy = "Make them with metrics.transformations(gspace), or metrics.Transformation(name, on_input, on_output)."
        raise ArgumentError("transformations", moves, "at least one Transformation", remedy)
    return moves


def _single(batches: Any) -> Iterable[Batch]:
    """Batches of inputs, of which one alone need not be put into a list."""
    if isinstance(batches, Tensor | GeometricTensor):
        return (batches,)
    if not isinstance(batches, Iterable):
        raise ArgumentError("batches", batches, "a tensor or an iterable of batches", "Pass [x] for a single batch x.")
    return batches


def labelled(batches: Any) -> Iterator[tuple[Batch, Tensor]]:
    """Batches of inputs and targets, from an iterable of pairs."""
    remedy = "Pass a DataLoader, or [(x, y)] for a single batch."
    if isinstance(batches, Tensor | GeometricTensor) or not isinstance(batches, Iterable):
        raise ArgumentError("batches", type(batches).__name__, "an iterable of pairs (inputs, targets)", remedy)
    for pair in batches:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[1], Tensor):
            raise ArgumentError("batches", type(pair).__name__, "pairs (inputs, targets)", remedy)
        yield pair[0], pair[1]


def nonempty(samples: int) -> int:
    """The number of samples; refuses to take means over nothing."""
    if samples == 0:
        remedy = "Pass a list or a DataLoader; a generator that was used before is empty."
        raise ArgumentError("number of samples", samples, "at least one sample", remedy)
    return samples


def means_over_samples(
    model: Model,
    batches: Any,
    moves: Sequence[Transformation],
    measured: Callable[[Run, Transformation], Tensor],  # numbers of each sample, (k, n)
) -> tuple[list[list[float]], int]:
    """The means of k numbers over the samples of all batches, for each transformation, and how many samples."""
    values: list[list[Tensor]] = [[] for _ in moves]
    with running(model):
        for x in _single(batches):
            run = Run(model, x)
            for rows, move in zip(values, moves, strict=True):
                rows.append(measured(run, move))
    samples = nonempty(sum(part.shape[1] for part in values[0]))
    return [torch.cat(rows, dim=1).mean(dim=1).tolist() for rows in values], samples
