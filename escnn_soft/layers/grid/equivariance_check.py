"""What ``check_equivariance`` measures: a smooth random image or volume, compared away from the border."""

from __future__ import annotations

import torch
from escnn.group import GroupElement
from escnn.nn import EquivariantModule, GeometricTensor
from torch import Tensor

from escnn_soft.layers.geometry import Geometry, Movement, TransposedGeometry

__all__ = ["central_difference", "smooth_image"]

_SIDE = {2: 64, 3: 20}  # pixels, before the layer's stride and padding are met
_GRAIN = {2: 8, 3: 5}  # pixels between independent values: smooth enough to interpolate
_SMOOTH = {2: "bicubic", 3: "trilinear"}


def smooth_image(layer: EquivariantModule, geometry: Movement, kernel_size: int) -> GeometricTensor:
    """A random field of the layer's input type whose size meets the layer's stride, so that the centre stays put."""
    dims = len(geometry.stride)
    size = _SIDE[dims]
    while isinstance(geometry, Geometry) and any(
        geometry.off_centre(kernel_size, size, axis) is not None for axis in range(dims)
    ):
        size += 1
    noise = torch.randn(1, layer.in_type.size, *[size // _GRAIN[dims]] * dims)
    image = torch.nn.functional.interpolate(noise, size=[size] * dims, mode=_SMOOTH[dims], align_corners=True)
    return GeometricTensor(image.to(layer.weights), layer.in_type)


def central_difference(layer: EquivariantModule, x: GeometricTensor, element: GroupElement) -> tuple[Tensor, float]:
    """|f(g x) - g f(x)| at the pixels within a quarter of the output's centre, and the largest value there."""
    first, second = _centred(layer, x.transform(element)).tensor, _centred(layer, x).transform(element).tensor
    sides = first.shape[2:]
    positions = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in sides), indexing="ij")
    radius = torch.stack(positions).norm(dim=0)
    centre = (radius < min(sides) / 4).to(first.device)
    return (first - second)[..., centre].abs(), float(first[..., centre].abs().max())


def _centred(layer: EquivariantModule, x: GeometricTensor) -> GeometricTensor:
    """The output without the padding that lies on one side of it."""
    y, geometry = layer(x), layer.geometry()
    if not isinstance(geometry, TransposedGeometry) or not any(geometry.output_padding):
        return y
    inner = tuple(slice(0, n - extra) for n, extra in zip(y.shape[2:], geometry.output_padding, strict=True))
    return GeometricTensor(y.tensor[(..., *inner)], y.type)
