"""All trainings of the demo: every stop of the dial and the plain network, at every seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from escnn_soft.cli.classifier import PlainClassifier, SoftClassifier
from escnn_soft.cli.digits import load_digits, split
from escnn_soft.cli.settings import Settings
from escnn_soft.cli.table import PLAIN, Row, tabulate
from escnn_soft.cli.training import Outcome, measure
from escnn_soft.spectrum import WeightSpectrum

__all__ = ["Study", "study"]


@dataclass(frozen=True, eq=False)
class Study:
    """What the trainings of one run brought.

    Attributes:
        rows: the table.
        filters: for each stop, the filters of one field, turned back, at seed 0.  # shape of each: (4, 5, 5)
        spectra: for each stop, the spectrum of each layer at seed 0.
        seconds: time that it took.
    """

    rows: tuple[Row, ...]
    filters: dict[str, Tensor]
    spectra: dict[str, tuple[WeightSpectrum, ...]]
    seconds: float


def study(settings: Settings, announce: Callable[[str, int], object], on_epoch: Callable[[], object]) -> Study:
    """Train and measure every network of a run.

    Args:
        settings: what to run.
        announce: called with the name and seed of each network before it is trained.
        on_epoch: called after each epoch.

    Returns:
        The results.

    Raises:
        ArgumentError: if there are too few images of a digit.
    """
    start = time.perf_counter()
    digits = load_digits(settings.angle)
    splits = [split(digits, settings.images, settings.tests, seed) for seed in range(settings.seeds)]
    filters: dict[str, Tensor] = {}
    spectra: dict[str, tuple[WeightSpectrum, ...]] = {}
    runs: list[tuple[float | None, int, list[Outcome]]] = []
    for softness in (*settings.softness, None):
        outcomes: list[Outcome] = []
        for seed, parts in enumerate(splits):
            announce(PLAIN if softness is None else f"softness {softness:g}", seed)
            torch.manual_seed(seed)  # the soft part starts at zero, so every stop starts from the same weights
            model: PlainClassifier | SoftClassifier
            model = PlainClassifier(settings.fields) if softness is None else SoftClassifier(softness, settings.fields)
            outcomes.append(measure(model, parts, settings, seed, on_epoch))
            if isinstance(model, SoftClassifier) and seed == 0:
                filters[f"{softness:g}"], spectra[f"{softness:g}"] = model.field_filters(), model.spectra()
        runs.append((softness, model.reachable(), outcomes))
    return Study(tabulate(runs), filters, spectra, time.perf_counter() - start)
