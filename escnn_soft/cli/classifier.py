"""The demo's networks: one small C4 classifier on the dial, and the plain network of the same shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from escnn import gspaces
from escnn.nn import FieldType, InnerBatchNorm, PointwiseAvgPool, ReLU, SequentialModule
from torch import Tensor, nn

from escnn_soft.cli.settings import CLASSES
from escnn_soft.dial import Policy
from escnn_soft.grading import WeightSpectrum
from escnn_soft.layers import SoftR2Conv

__all__ = ["LAYERS", "Network", "PlainClassifier", "SoftClassifier"]

LAYERS = ("5 x 5", "5 x 5", "5 x 5", "1 x 1")
"""Kernels of the four convolutions."""


class SoftClassifier(nn.Module):
    """Convolutions 5 x 5, 5 x 5, 5 x 5, 1 x 1 on C4-regular fields, all with one softness.

    At softness 0 a quarter turn of the image permutes the hidden channels and leaves the logits as they are, exactly:
    every size is odd (29, 25, 13, 9, 5, 1), so each convolution and each pooling respects quarter turns of its grid.
    Nothing is averaged over the group outside the soft layers, so at softness 1 nothing keeps the logits invariant.

    Args:
        softness: the dial, in [0, 1], or a policy.
        fields: C4-regular fields of the three hidden layers.
    """

    def __init__(self, softness: float | Policy, fields: tuple[int, int, int]) -> None:
        super().__init__()
        space = gspaces.rot2dOnR2(4)
        image, logits = (FieldType(space, [space.trivial_repr] * size) for size in (1, CLASSES))
        first, second, third = (FieldType(space, [space.regular_repr] * size) for size in fields)
        self.in_type = image
        self.body = SequentialModule(
            SoftR2Conv(image, first, 5, bias=False, softness=softness),
            InnerBatchNorm(first),
            ReLU(first),
            PointwiseAvgPool(first, 3, stride=2, padding=1),
            SoftR2Conv(first, second, 5, bias=False, softness=softness),
            InnerBatchNorm(second),
            ReLU(second),
            PointwiseAvgPool(second, 3, stride=2, padding=1),
            SoftR2Conv(second, third, 5, bias=False, softness=softness),
            InnerBatchNorm(third),
            ReLU(third),
            SoftR2Conv(third, logits, 1, softness=softness),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, CLASSES) of some images (n, 1, SIDE, SIDE)."""
        return self.body(self.in_type(images)).tensor.flatten(1)

    @property
    def convolutions(self) -> tuple[SoftR2Conv, ...]:
        """The soft layers, from the image to the logits."""
        return tuple(module for module in self.body if isinstance(module, SoftR2Conv))

    def spectra(self) -> tuple[WeightSpectrum, ...]:
        """The weight spectrum of each soft layer, from the image to the logits."""
        return tuple(layer.spectrum() for layer in self.convolutions)

    def reachable(self) -> int:
        """Number of directions of weight space that the dial leaves open, over all convolutions."""
        return sum(level.dim for spectrum in self.spectra() for level in spectrum.levels if level.gain > 0)

    def field_filters(self) -> Tensor:
        """The four filters of the first layer's strongest field, the g-th turned back by g quarter turns, (4, 5, 5)."""
        kernel = self.convolutions[0].expand_parameters()[0].detach()
        fields = kernel.reshape(-1, 4, *kernel.shape[-2:])
        strongest = fields[fields.flatten(1).norm(dim=1).argmax()]
        return torch.stack([torch.rot90(image, -turns) for turns, image in enumerate(strongest)])


class PlainClassifier(nn.Sequential):
    """The same shape in plain torch: its own layers, its own first weights, batch norm channel by channel.

    Args:
        fields: as for the soft classifier; four channels each.
    """

    def __init__(self, fields: tuple[int, int, int]) -> None:
        first, second, third = (4 * size for size in fields)
        super().__init__(
            nn.Conv2d(1, first, 5, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.AvgPool2d(3, stride=2, padding=1),
            nn.Conv2d(first, second, 5, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.AvgPool2d(3, stride=2, padding=1),
            nn.Conv2d(second, third, 5, bias=False),
            nn.BatchNorm2d(third),
            nn.ReLU(),
            nn.Conv2d(third, CLASSES, 1),
            nn.Flatten(),
        )

    def reachable(self) -> int:
        """Number of weights of all convolutions."""
        return sum(module.weight.numel() for module in self if isinstance(module, nn.Conv2d))


@dataclass(frozen=True)
class Network:
    """A network of the demo, before it is built.

    Attributes:
        name: in the table.
        softness: of its layers; None for the plain network.
        fields: C4-regular fields of the three hidden layers.
        on_dial: whether it is a stop of the dial, or something to compare with.
    """

    name: str
    softness: float | None
    fields: tuple[int, int, int]
    on_dial: bool

    def build(self, seed: int) -> SoftClassifier | PlainClassifier:
        """Build the network; the soft part starts at zero, so at one seed all stops are the same function."""
        torch.manual_seed(seed)
        return PlainClassifier(self.fields) if self.softness is None else SoftClassifier(self.softness, self.fields)
