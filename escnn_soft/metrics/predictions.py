"""Whether a classifier says the same of an input and of the input transformed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor

from escnn_soft._record import Record
from escnn_soft.metrics.distance import agreement, divergence
from escnn_soft.metrics.running import Model, Run, checked, means_over_samples
from escnn_soft.metrics.transformation import Transformation

__all__ = ["ElementChange", "PredictionChange", "prediction_change"]


@dataclass(frozen=True)
class ElementChange(Record):
    """What one group element does to the predictions, as means over the samples.

    Attributes:
        name: of the transformation.
        consistency: share of predictions that stay the same, in [0, 1].
        divergence: KL(g f(x) || f(g x)) of the predicted distributions, in nats.
        there_and_back: the consistency of f(g^-1 g x) with f(x), less than 1 through interpolation alone; 1 if nothing
            is interpolated.
    """

    name: str
    consistency: float
    divergence: float
    there_and_back: float


@dataclass(frozen=True)
class PredictionChange(Record):
    """What some group elements do to the predictions.

    Attributes:
        elements: one entry a transformation, in their order.
        samples: inputs that were measured.
    """

    recorded: ClassVar[tuple[str, ...]] = ("consistency", "divergence", "there_and_back")

    elements: tuple[ElementChange, ...]
    samples: int

    @property
    def consistency(self) -> float:
        """Mean share of predictions that stay the same."""
        return fmean(element.consistency for element in self.elements)

    @property
    def divergence(self) -> float:
        """Mean divergence in nats."""
        return fmean(element.divergence for element in self.elements)

    @property
    def there_and_back(self) -> float:
        """Mean consistency that interpolation alone leaves."""
        return fmean(element.there_and_back for element in self.elements)


def prediction_change(model: Model, batches: Any, transformations: Sequence[Transformation]) -> PredictionChange:
    """Consistency and divergence of the predictions for g x with those for x, classes along the second axis.

    Args:
        model: a module, which is run in evaluation mode, or a function; its outputs are logits.
        batches: batches of inputs, or a single one.
        transformations: what to do to inputs, and for dense logits to outputs.

    Returns:
        The means.

    Raises:
        ArgumentError: if an argument has the wrong type, or there are no inputs.
        ShapeError: if f(g x) and g f(x) have different shapes.

    Example:
        >>> flip = Transformation("flip", lambda x: x.flip(-1))
        >>> prediction_change(torch.nn.Identity(), torch.tensor([[0.0, 1.0], [2.0, 2.0]]), [flip]).consistency
        0.5
    """
    moves = checked(model, transformations)
    means, samples = means_over_samples(model, batches, moves, _measured)
    elements = (ElementChange(move.name, *mean) for move, mean in zip(moves, means, strict=True))
    return PredictionChange(tuple(elements), samples)


def _measured(run: Run, move: Transformation) -> Tensor:
    """Consistency, divergence and consistency there and back, (3, n)."""
    first, second = run.both_sides(move)
    kept = torch.ones(len(first), dtype=torch.float64, device=first.device)
    if not move.exact:
        through, _, still = run.excuses(move)
        kept = agreement(through, still)
    return torch.stack([agreement(first, second), divergence(first, second), kept])
