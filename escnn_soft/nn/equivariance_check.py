"""What ``check_equivariance`` of a planar layer measures: a smooth random image, compared away from the border."""

from __future__ import annotations

import torch
from escnn.group import GroupElement
from escnn.nn import EquivariantModule, GeometricTensor, R2Conv
from torch import Tensor

__all__ = ["central_difference", "smooth_image"]

_SIDE = 64  # pixels, before the layer's stride and padding are met
_GRAIN = 8  # pixels between independent values: smooth enough to interpolate


def smooth_image(layer: R2Conv) -> GeometricTensor:
    """A random field of the layer's input type whose size meets the layer's stride, so that the centre stays put."""
    size = _SIDE
    while not _centred(layer, size):
        size += 1
    noise = torch.randn(1, layer.in_type.size, size // _GRAIN, size // _GRAIN)
    image = torch.nn.functional.interpolate(noise, size=(size, size), mode="bicubic", align_corners=True)
    return GeometricTensor(image.to(layer.weights), layer.in_type)


def _centred(layer: R2Conv, size: int) -> bool:
    pairs = (torch.nn.modules.utils._pair(value) for value in (layer.padding, layer.stride))
    return all(
        (size + 2 * padding - layer.dilation * (layer.kernel_size - 1) - 1) % stride == 0
        for padding, stride in zip(*pairs, strict=True)
    )


def central_difference(layer: EquivariantModule, x: GeometricTensor, element: GroupElement) -> tuple[Tensor, float]:
    """|f(g x) - g f(x)| at the pixels within a quarter of the output's centre, and the largest value there."""
    first, second = layer(x.transform(element)).tensor, layer(x).transform(element).tensor
    height, width = first.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    radius = torch.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    centre = (radius < min(height, width) / 4).to(first.device)
    return (first - second)[..., centre].abs(), float(first[..., centre].abs().max())
