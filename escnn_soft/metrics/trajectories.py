"""Displacement errors of predicted paths, as they are and under rotation of the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, radians, sin, sqrt
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor

from escnn_soft._checks import number
from escnn_soft._record import Record
from escnn_soft.errors import ArgumentError, ShapeError
from escnn_soft.metrics.running import Model, Run, checked, labelled, nonempty, running, tensor
from escnn_soft.metrics.transformation import Transformation

__all__ = ["Displacement", "TrajectoryScore", "displacements", "point_rotations", "trajectory_score"]


@dataclass(frozen=True)
class Displacement(Record):
    """Distances between predicted and true positions, in the units of the data.

    Attributes:
        ade: average displacement error, the mean distance over all steps.
        fde: final displacement error, the distance at the last step.
    """

    ade: float
    fde: float


@dataclass(frozen=True)
class TrajectoryScore(Record):
    """Displacement errors on paths as they are, and rotated.

    Attributes:
        plain: on the paths as they are.
        elements: names and errors, one a transformation, in their order.
        samples: inputs that were measured.
    """

    recorded: ClassVar[tuple[str, ...]] = ("transformed", "combined")

    plain: Displacement
    elements: tuple[tuple[str, Displacement], ...]
    samples: int

    @property
    def transformed(self) -> Displacement:
        """Mean errors on rotated paths."""
        ade, fde = (fmean(getattr(error, name) for _, error in self.elements) for name in ("ade", "fde"))
        return Displacement(ade, fde)

    @property
    def combined(self) -> Displacement:
        """sqrt(plain * transformed)."""
        plain, moved = self.plain, self.transformed
        return Displacement(sqrt(plain.ade * moved.ade), sqrt(plain.fde * moved.fde))


def displacements(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Average and final displacement error of each path.

        ADE = mean over t of ||prediction_t - target_t||,    FDE = ||prediction_T - target_T||

    Args:
        prediction: positions.  # shape: (..., steps, 2)
        target: positions.  # shape: (..., steps, 2)

    Returns:
        ADE and FDE.  # shape of each: (...)

    Raises:
        ShapeError: if the shapes differ or are no paths.

    Example:
        >>> displacements(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.zeros(2, 2))
        (tensor(2.5000), tensor(5.))
    """
    if prediction.shape != target.shape or target.dim() < 2:
        expected = f"paths (..., steps, coordinates) of the targets' shape {tuple(target.shape)}"
        raise ShapeError("prediction.shape", tuple(prediction.shape), expected, "Reshape what the model returns.")
    distances = (prediction - target).norm(dim=-1)
    return distances.mean(dim=-1), distances[..., -1]


def point_rotations(angles: Sequence[float]) -> tuple[Transformation, ...]:
    """Rotations of the plane about the origin, exact for coordinates: positions as well as velocities, in and out.

    Args:
        angles: in degrees.

    Returns:
        One transformation an angle, of tensors whose last axis holds (x, y).

    Raises:
        ArgumentError: if an angle is no number.
        ShapeError: when a tensor's last axis has another length, on use.

    Example:
        >>> turn = point_rotations([90])[0]
        >>> turn.name, turn.on_input(torch.tensor([1.0, 0.0])).round().tolist()
        ('90 deg', [0.0, 1.0])
    """
    checked_angles = [
        number("angles", angle, minimum=-360, maximum=360, error=ArgumentError, remedy="Angles are in degrees.")
        for angle in angles
    ]
    return tuple(_rotation(angle) for angle in checked_angles)


def _rotation(angle: float) -> Transformation:
    c, s = cos(radians(angle)), sin(radians(angle))

    def rotated(x: Tensor) -> Tensor:
        if x.shape[-1:] != (2,):
            raise ShapeError("x.shape", tuple(x.shape), "coordinates (..., 2)", "Write a Transformation of your own.")
        return x @ torch.tensor([[c, s], [-s, c]], dtype=x.dtype, device=x.device)

    return Transformation(f"{angle:g} deg", rotated, rotated)


def trajectory_score(model: Model, batches: Any, transformations: Sequence[Transformation]) -> TrajectoryScore:
    """ADE and FDE of f(x) against y, and of f(g x) against g y.

    Args:
        model: a module, which is run in evaluation mode, or a function; it returns positions.
        batches: pairs (inputs, paths).  # shape of paths: (n, ..., steps, 2)
        transformations: what to do to inputs and paths; :func:`point_rotations`, or your own.

    Returns:
        The errors.

    Raises:
        ArgumentError: if an argument has the wrong type, or there are no inputs.
        ShapeError: if predicted and true paths have different shapes.

    Example:
        >>> east = lambda x: torch.tensor([[[1.0, 0.0]]]).expand(len(x), 1, 2)
        >>> data = [(torch.zeros(1, 2), torch.tensor([[[1.0, 0.0]]]))]
        >>> score = trajectory_score(east, data, point_rotations([180]))
        >>> score.plain.ade, score.transformed.ade
        (0.0, 2.0)
    """
    moves = checked(model, transformations)
    sums, paths, samples = torch.zeros(1 + len(moves), 2, dtype=torch.float64), 0, 0
    with running(model):
        for x, path in labelled(batches):
            run = Run(model, x)
            samples += len(path)
            sums[0] += _summed(run.plain(), path)
            for row, move in zip(sums[1:], moves, strict=True):
                row += _summed(run.moved(move), move.on_output(path))
            paths += path[..., 0, 0].numel()
    nonempty(samples)
    errors = [Displacement(*row) for row in (sums / paths).tolist()]
    return TrajectoryScore(errors[0], tuple(zip((m.name for m in moves), errors[1:], strict=True)), samples)


def _summed(prediction: Any, path: Tensor) -> Tensor:
    ade, fde = displacements(tensor(prediction), path)
    return torch.stack([ade.double().sum(), fde.double().sum()]).cpu()
