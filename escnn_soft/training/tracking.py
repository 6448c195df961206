"""What a training run writes down of a model's softness, in numbers."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from torch.nn import Module

from escnn_soft._checks import instance, integer
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import Dialled, dials

__all__ = ["log_softness", "softness_scalars"]


def softness_scalars(model: Module, *, certificates: bool = False, levels: bool = False) -> dict[str, float]:
    """The softness of a model in numbers, one or more for each dial.

    A dial is called as in :func:`escnn_soft.dials`, and by the class of the model if that is a single layer. The keys:

    * ``softness/NAME``: its softness, if that is a number; else a key for each number of its policy, such as
      ``Budget.eta/NAME`` and ``Cutoff.bound/NAME``;
    * ``bound/NAME``: the largest relative error that the softness allows, whatever the weights;
    * ``breaking/NAME``: the share of the weights' energy that breaks the symmetry, in [0, 1];
    * with ``certificates``: ``certified_sup/NAME`` and ``certified_rms/NAME``, the supremum over the group of the
      weights' relative error, and its root mean square;
    * with ``levels``: ``energy/NAME/LEVEL`` and ``gain/NAME/LEVEL`` of the weights in each level, as in ``spectrum()``.

    What does not exist is left out: the bound and the certificate where the group is not compact, the certificate of a
    tensor that maps between no fields.

    Args:
        model: a model with soft layers or filters.
        certificates: whether to certify each layer, which may take as long as a step of training, or longer.
        levels: whether to list the levels.

    Returns:
        Finite numbers by name.

    Raises:
        ArgumentError: if the model has no soft layer.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> from escnn_soft import soften
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
        >>> scalars = softness_scalars(soften(model, 0.1, gspace=gspaces.rot2dOnR2(4)))
        >>> list(scalars)
        ['softness/0', 'bound/0', 'breaking/0', 'softness/2', 'bound/2', 'breaking/2']
        >>> scalars["softness/0"], scalars["breaking/0"] < scalars["bound/0"]
        (0.1, True)
    """
    instance("model", model, Module, "Pass the model that holds the layers.")
    every = dials(model)
    if not every:
        raise ArgumentError("model", type(model).__name__, "a model with soft layers", "Soften a layer first.")
    return {
        f"{quantity}/{name or type(model).__name__}{level}": value
        for name, dial in every.items()
        for quantity, level, value in _numbers(dial, certificates, levels)
        if math.isfinite(value)
    }


def log_softness(
    logger: Any, model: Module, step: int | None = None, *, certificates: bool = False, levels: bool = False
) -> None:
    """Write the softness of a model to the tracker of a training run.

    Args:
        logger: what has a method ``log_metrics(numbers, step)``, as loggers of Lightning and ``mlflow``; or
            ``add_scalar(name, number, step)``, as tensorboard's ``SummaryWriter``; or ``log(numbers, step=step)``, as a
            run of wandb or an ``Accelerator``.
        model: a model with soft layers or filters.
        step: of the training; None to leave it to the tracker.
        certificates: as for :func:`softness_scalars`, which has the names of the numbers.
        levels: likewise.

    Raises:
        ArgumentError: if the logger has no such method, the model no soft layer, or the step is no whole number.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import SoftR2Conv
        >>> field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
        >>> class Writer:
        ...     def add_scalar(self, tag, scalar_value, global_step=None):
        ...         print(global_step, tag, round(scalar_value, 3))
        >>> log_softness(Writer(), SoftR2Conv(field, field, kernel_size=3, softness=0.1), step=7)
        7 softness/SoftR2Conv 0.1
        7 bound/SoftR2Conv 0.252
        7 breaking/SoftR2Conv 0.0
    """
    kind = next((name for name in ("log_metrics", "add_scalar", "log") if callable(getattr(logger, name, None))), None)
    if kind is None or isinstance(logger, Module | logging.Logger):  # whose own log means something else
        expected = "a SummaryWriter, a wandb run, a logger of Lightning's, or what has one of their methods"
        remedy = "Of a LightningModule or a Trainer pass the attribute logger."
        raise ArgumentError("logger", type(logger).__name__, expected, remedy)
    step = None if step is None else integer("step", step, minimum=0)
    scalars = softness_scalars(model, certificates=certificates, levels=levels)
    if kind == "log_metrics":
        logger.log_metrics(scalars, step)
    elif kind == "log":
        logger.log(scalars, step=step)
    else:
        for name, value in scalars.items():
            logger.add_scalar(name, value, step)


def _numbers(dial: Dialled, certificates: bool, levels: bool) -> Iterator[tuple[str, str, float]]:
    """What is measured, where inside the dial, and the number."""
    softness, spectrum = dial.softness, dial.spectrum()
    if isinstance(softness, float):
        yield "softness", "", softness
    elif is_dataclass(softness):
        for name in (each.name for each in fields(softness)):
            value = getattr(softness, name)
            if isinstance(value, int | float):
                yield f"{type(softness).__name__}.{name}", "", float(value)
    yield "bound", "", dial.bound()
    yield "breaking", "", spectrum.breaking_share
    if certificates:
        for name, value in _certified(dial):
            yield f"certified_{name}", "", value
    if levels:
        for part, entries in (("", spectrum.levels), ("bias ", spectrum.bias)):
            for level in entries:
                yield "energy", f"/{part}{level.name}", level.energy
                yield "gain", f"/{part}{level.name}", level.gain


def _certified(dial: Dialled) -> tuple[tuple[str, float], ...]:
    try:
        relative = dial.certificate().relative
    except ArgumentError:  # a tensor that maps between no fields, such as a table of positions
        return ()
    return ("sup", relative.sup), ("rms", relative.rms)
