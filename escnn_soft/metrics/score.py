"""Scores of a task under transformation: accuracy, mean intersection over union, each combined with the plain one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor

from escnn_soft._checks import integer
from escnn_soft._record import Record
from escnn_soft.errors import ArgumentError, ShapeError
from escnn_soft.metrics.running import Model, Run, checked, labelled, nonempty, running, tensor
from escnn_soft.metrics.transformation import IGNORED, Transformation

__all__ = ["ElementScore", "Score", "accuracy", "confusion", "mean_iou", "segmentation_score"]


@dataclass(frozen=True)
class ElementScore(Record):
    """The score on transformed data.

    Attributes:
        name: of the transformation.
        score: on g x, in [0, 1].
        there_and_back: on g^-1 g x, lower than the plain score through interpolation alone; the plain score if nothing
            is interpolated.
    """

    name: str
    score: float
    there_and_back: float


@dataclass(frozen=True)
class Score(Record):
    """A score on data as they are, and transformed.

    Attributes:
        plain: on the data as they are, in [0, 1].
        elements: one entry a transformation, in their order.
        samples: inputs that were measured.
    """

    recorded: ClassVar[tuple[str, ...]] = ("transformed", "combined", "there_and_back")

    plain: float
    elements: tuple[ElementScore, ...]
    samples: int

    @property
    def transformed(self) -> float:
        """Mean score on transformed data."""
        return fmean(element.score for element in self.elements)

    @property
    def combined(self) -> float:
        """sqrt(plain * transformed), high only if both are: cAcc, for accuracy."""
        return sqrt(self.plain * self.transformed)

    @property
    def there_and_back(self) -> float:
        """Mean score that interpolation alone leaves."""
        return fmean(element.there_and_back for element in self.elements)


def accuracy(model: Model, batches: Any, transformations: Sequence[Transformation]) -> Score:
    """Share of right answers on x and on g x, whose label is that of x; classes along the second axis.

    Args:
        model: a module, which is run in evaluation mode, or a function; its outputs are logits.
        batches: pairs (inputs, labels).
        transformations: what to do to inputs.

    Returns:
        The accuracies; ``combined`` is cAcc.

    Raises:
        ArgumentError: if an argument has the wrong type, or there are no inputs.
        ShapeError: if there is not one label for each output.

    Example:
        >>> flip = Transformation("flip", lambda x: x.flip(-1))
        >>> score = accuracy(
        ...     torch.nn.Identity(), [(torch.tensor([[0.0, 1.0], [2.0, 2.0]]), torch.tensor([1, 0]))], [flip]
        ... )
        >>> score.plain, score.transformed, round(score.combined, 4)
        (1.0, 0.5, 0.7071)
    """

    def right(y: Any, labels: Tensor) -> Tensor:
        scores = tensor(y)
        if scores.dim() != 2 or labels.shape != scores.shape[:1]:
            remedy = "Use segmentation_score for dense labels."
            raise ShapeError(
                "labels.shape", tuple(labels.shape), f"one label for each of {tuple(scores.shape)}", remedy
            )
        return torch.tensor([int((scores.argmax(1) == labels).sum()), len(labels)])

    moves = checked(model, transformations)
    plain, counts = torch.zeros(2, dtype=torch.long), torch.zeros(len(moves), 2, 2, dtype=torch.long)
    with running(model):
        for x, labels in labelled(batches):
            run = Run(model, x)
            plain += right(run.plain(), labels)
            for row, move in zip(counts, moves, strict=True):
                row[0] += right(run.moved(move), labels)
                row[1] += right(run.plain() if move.exact else run.there_and_back(move), labels)
    samples = nonempty(int(plain[1]))
    shares = (counts[..., 0].double() / counts[..., 1]).tolist()
    return Score(
        int(plain[0]) / samples,
        tuple(ElementScore(move.name, *row) for move, row in zip(moves, shares, strict=True)),
        samples,
    )


def confusion(prediction: Tensor, target: Tensor, classes: int) -> Tensor:
    """How often each class is taken for each other: entry (i, j) counts pixels of class i that were called j.

    Args:
        prediction: labels.  # shape: (...)
        target: labels; those outside 0 ... classes - 1 are left out.  # shape: (...)
        classes: their number.

    Returns:
        The counts.  # shape: (classes, classes)

    Raises:
        ShapeError: if the shapes differ.

    Example:
        >>> confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]), 2)
        tensor([[1, 1],
                [0, 1]])
    """
    if prediction.shape != target.shape:
        expected = f"labels of the targets' shape {tuple(target.shape)}"
        raise ShapeError("prediction.shape", tuple(prediction.shape), expected, "Resize the scores first.")
    counted = (target >= 0) & (target < classes)
    pairs = target[counted].long() * classes + prediction[counted].long()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def mean_iou(counts: Tensor) -> float:
    """Mean over classes of |prediction and target| / |prediction or target|, from the confusion over all pixels.

    Args:
        counts: from :func:`confusion`, added up over the data.  # shape: (classes, classes)

    Returns:
        In [0, 1]; classes that are neither there nor predicted are left out, NaN if there are no others.

    Example:
        >>> mean_iou(torch.tensor([[1, 1], [0, 1]]))
        0.5
    """
    both = counts.diagonal().double()
    either = counts.sum(0) + counts.sum(1) - both
    return float((both / either)[either > 0].mean())


def segmentation_score(model: Model, batches: Any, transformations: Sequence[Transformation], classes: int) -> Score:
    """Mean intersection over union on x with its mask m, and on g x with g m; classes along the second axis.

    Pixels that an interpolated rotation may move out of the image get the label ``IGNORED``, and do not count.

    Args:
        model: a module, which is run in evaluation mode, or a function; its outputs are logits for each pixel.
        batches: pairs (images, masks), masks integers.  # shape of masks: (n, height, width)
        transformations: with ``on_mask``; :func:`transformations` sets it for gspaces on the plane.
        classes: their number.

    Returns:
        mIoU; ``combined`` is the root of the product with that on transformed images.

    Raises:
        ArgumentError: if an argument has the wrong type, or there are no inputs.
        ShapeError: if logits and masks have different sizes.

    Example:
        >>> flip = Transformation("flip", lambda x: x.flip(-1), on_mask=lambda m: m.flip(-1))
        >>> x, m = torch.eye(2)[None, :, :, None], torch.tensor([[[0], [1]]])
        >>> segmentation_score(torch.nn.Identity(), [(x, m)], [flip], classes=2).combined
        1.0
    """
    classes = integer("classes", classes, minimum=2)
    moves = checked(model, transformations)
    plain = torch.zeros(classes, classes, dtype=torch.long)
    counts = [torch.zeros(2, classes, classes, dtype=torch.long) for _ in moves]
    samples = 0
    with running(model):
        for x, mask in labelled(batches):
            if mask.is_floating_point() or mask.dim() != 3:
                expected = "masks of integers of shape (n, height, width)"
                raise ArgumentError("masks", mask, expected, "Of one-hot masks take the argmax over the classes.")
            run = Run(model, x)
            samples += len(mask)
            plain += _confused(run.plain(), mask, classes)
            for row, move in zip(counts, moves, strict=True):
                row[0] += _confused(run.moved(move), move.on_mask(mask), classes)
                inside = mask if move.exact else torch.where(_seen(move, mask), mask, IGNORED)
                row[1] += _confused(run.plain() if move.exact else run.there_and_back(move), inside, classes)
    nonempty(samples)
    elements = (ElementScore(m.name, *map(mean_iou, row)) for m, row in zip(moves, counts, strict=True))
    return Score(mean_iou(plain), tuple(elements), samples)


def _confused(y: Any, mask: Tensor, classes: int) -> Tensor:
    return confusion(tensor(y).argmax(1), mask, classes).cpu()


def _seen(move: Transformation, mask: Tensor) -> Tensor:
    """Which pixels count under a transformation."""
    return move.on_mask(torch.zeros_like(mask)) != IGNORED
