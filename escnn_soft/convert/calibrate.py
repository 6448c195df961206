"""The smallest softness of each layer that a model's outputs bear."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from escnn_soft._checks import instance, integer, number
from escnn_soft._record import Record
from escnn_soft.dial import evaluated
from escnn_soft.errors import ArgumentError, shown
from escnn_soft.layers import Dialled, dials

__all__ = ["CalibratedLayer", "Calibration", "calibrate"]

Distance = Callable[[Any, Any], float]
"""How far one output of the model is from another."""


@dataclass(frozen=True)
class CalibratedLayer(Record):
    """What a calibration chose for one dial.

    Attributes:
        name: of the dial.
        softness: in [0, 1].
        bound: largest relative equivariance error that the softness allows, for every element and any weights.
    """

    name: str
    softness: float
    bound: float


@dataclass(frozen=True)
class Calibration(Record):
    """What :func:`calibrate` chose; prints as one line a layer.

    Attributes:
        layers: one entry a dial.
        distance: of the outputs from those before.
    """

    layers: tuple[CalibratedLayer, ...]
    distance: float

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        lines = [
            f"{layer.name:<{width}}  softness {layer.softness:.4f}  bound {layer.bound:.4f}" for layer in self.layers
        ]
        return "\n".join([*lines, f"distance of the outputs: {self.distance:.4g}"])

    __repr__ = __str__


@torch.no_grad()
def calibrate(
    model: Module, x: Any, tolerance: float, *, distance: Distance | None = None, steps: int = 6
) -> Calibration:
    """Make a model as equivariant as its outputs bear: the smallest softness of each dial, one after the other.

    The i-th of n dials may use i / n of the tolerance, together with those before it. For each, softness 0 is tried,
    and then an interval between a softness that is too small and one that will do, at first the one it has, is halved.
    Every setting that is kept was run, so that the outputs on ``x`` are within the tolerance at the end.

    Args:
        model: a model with dials at plain numbers, as from ``soften(model, 1.0)``; they are turned in place.
        x: what the model is called with.
        tolerance: largest distance of the outputs from those before.
        distance: function of two outputs; by default the norm of the difference, relative to that of the second.
        steps: how often an interval is halved; ``steps + 1`` runs a dial.

    Returns:
        The softness of each dial, and the bound that it bought.

    Raises:
        ArgumentError: if the model has no dials, or one whose softness is no number, the outputs are no tensor and no
            distance is given, a distance is not a number, the tolerance is negative, or ``steps`` is not a positive
            integer. Nothing is changed then.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import soften
        >>> _ = torch.manual_seed(0)
        >>> plain = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
        >>> model = soften(plain, 1.0, gspace=gspaces.rot2dOnR2(4))
        >>> calibrate(model, torch.randn(8, 1, 9, 9), tolerance=0.1).distance <= 0.1
        True
    """
    instance("model", model, Module, "Pass a softened model.")
    remedy = "Pass the largest relative change of the outputs, e.g. 0.05."
    tolerance = number("tolerance", tolerance, minimum=0.0, maximum=torch.inf, error=ArgumentError, remedy=remedy)
    steps = integer("steps", steps, minimum=1)
    every = dials(model)
    if not every:
        raise ArgumentError("model", model, "a model with soft layers", "Use soften first.")
    before = {name: _number(name, dial) for name, dial in every.items()}
    measure = relative_distance if distance is None else distance
    try:
        with evaluated(model):
            return _calibrated(model, x, tolerance, measure, steps, every)
    except BaseException:
        for name, softness in before.items():
            every[name].softness = softness
        raise


def _number(name: str, dial: Dialled) -> float:
    if not isinstance(dial.softness, float):
        remedy = "Set a float first, as 1.0 with set_softness(model, 1.0, keep=True)."
        raise ArgumentError(f"softness of {shown(name)}", dial.softness, "a plain number for every dial", remedy)
    return dial.softness


def _calibrated(
    model: Module, x: Any, tolerance: float, distance: Distance, steps: int, every: dict[str, Dialled]
) -> Calibration:
    reference, farthest, layers = model(x), 0.0, list[CalibratedLayer]()
    for i, (name, dial) in enumerate(every.items(), start=1):
        allowed = tolerance * i / len(every)
        softness, farthest = _smallest(
            dial, _number(name, dial), steps, allowed, lambda: _finite(distance(model(x), reference)), farthest
        )
        layers.append(CalibratedLayer(name, softness, dial.bound()))
    return Calibration(tuple(layers), farthest)


def _finite(distance: float) -> float:
    if not math.isfinite(distance):
        remedy = "Check the model's outputs on x, and what distance makes of them."
        raise ArgumentError("distance", distance, "a finite number", remedy)
    return distance


def _smallest(
    dial: Dialled, high: float, steps: int, allowed: float, measure: Callable[[], float], farthest: float
) -> tuple[float, float]:
    """Set a dial to the smallest softness that is allowed; returns it, and the distance: ``farthest`` where it is."""
    low = 0.0
    for step in range(steps + 1):
        dial.softness = tried = low if step == 0 else (low + high) / 2
        found = measure()
        if found <= allowed:
            high, farthest = tried, found
            if step == 0:
                break
        else:
            low = tried
    dial.softness = high
    return high, farthest


def relative_distance(output: Any, reference: Any) -> float:
    """||y - z|| / ||z||."""
    output, reference = (getattr(value, "tensor", value) for value in (output, reference))
    if not isinstance(output, Tensor):
        remedy = "Pass distance=, a function of two outputs."
        raise ArgumentError("model(x)", output, "a tensor", remedy)
    norm = reference.norm()
    return float((output - reference).norm() / torch.where(norm > 0, norm, 1.0))
