"""What a certificate says about a trained network of the demo, next to what is measured."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from escnn_soft.certification import certify
from escnn_soft.cli.classifier import SoftClassifier

__all__ = ["GUARANTEE_HEADINGS", "Guarantee", "guarantee", "guarantee_cells"]

GUARANTEE_HEADINGS = ("softness", "measured", "certified bound", "bound / measured", "largest ratio", "violations")

_ROUNDING = 1e-9
"""Errors below it are those of double precision, and no ratio is shown."""


@dataclass(frozen=True)
class Guarantee:
    """Errors |f(g x) - f(x)| of the logits and their certified bounds, over images and quarter turns.

    Attributes:
        name: the softness.
        error: median of the measured errors.
        bound: median of the bounds.
        ratio: median of bound / measured.
        largest: largest ratio.
        violations: pairs of an image and a turn whose error exceeds its bound.
    """

    name: str
    error: float
    bound: float
    ratio: float
    largest: float
    violations: int


def guarantee(name: str, model: SoftClassifier, images: Tensor) -> Guarantee:
    """Certify a trained network on some images and measure what the certificate bounds, both in double precision.

    In single precision rounding would be all of a strict network's error.

    Args:
        name: the softness.
        model: in evaluation mode; left as it is.
        images: test images.  # shape: (n, 1, side, side)

    Returns:
        Both, and their ratio.
    """
    model, images = copy.deepcopy(model).double(), images.double()
    certificate = certify(model, images)
    with torch.no_grad():
        still = model(images)
        errors = torch.stack([(model(images.rot90(turns, (2, 3))) - still).norm(dim=1) for turns in (1, 2, 3)])
    bounds = torch.tensor(certificate.samples[1:], dtype=torch.float64)  # the first element is the identity
    pairs = list(zip(errors.flatten().tolist(), bounds.flatten().tolist(), strict=True))
    ratios = [bound / error if error > 0 else 1.0 for error, bound in pairs]
    return Guarantee(
        name=name,
        error=median(error for error, _ in pairs),
        bound=median(bound for _, bound in pairs),
        ratio=median(ratios),
        largest=max(ratios),
        violations=sum(error > bound for error, bound in pairs),
    )


def guarantee_cells(row: Guarantee) -> tuple[str, ...]:
    """A row of the table, under ``GUARANTEE_HEADINGS``."""
    ratios = (f"{row.ratio:.1f}", f"{row.largest:.1f}") if row.error > _ROUNDING else ("-", "-")
    return (row.name, f"{row.error:.3g}", f"{row.bound:.3g}", *ratios, str(row.violations))
