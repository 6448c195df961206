"""Networks of escnn's modules as plain torch modules: escnn's ``export``, and what it has none for."""

from __future__ import annotations

import torch
from escnn import nn
from escnn.nn import GeometricTensor
from torch import Tensor
from torch.nn import Module


class Fourier(Module):
    """x -> A^+ phi(A x) for each field."""

    def __init__(self, layer: nn.FourierPointwise | nn.QuotientFourierPointwise) -> None:
        super().__init__()
        self.register_buffer("there", layer.A.clone())
        self.register_buffer("back", layer.Ainv.clone())
        self.function = {torch.nn.functional.elu_: torch.nn.ELU(), torch.nn.functional.elu: torch.nn.ELU()}[
            layer._function
        ]

    def forward(self, x: Tensor) -> Tensor:
        samples = torch.tensordot(self.there, x.unflatten(1, (-1, self.there.shape[1])), dims=([1], [2]))
        back = torch.tensordot(self.back, self.function(samples), dims=([1], [0]))
        return back.movedim(0, 2).flatten(1, 2)


class Gates(Module):
    """Fields of one size multiplied by the sigmoids of as many gates before them."""

    def __init__(self, layer: nn.GatedNonLinearity1) -> None:
        super().__init__()
        self.register_buffer("bias", layer.bias.detach().clone())
        self.fields = len(layer.out_type)
        assert layer.out_type.uniform

    def forward(self, x: Tensor) -> Tensor:
        gates, fields = x[:, : self.fields], x[:, self.fields :]
        bias = self.bias.view([1, -1] + [1] * (x.dim() - 2))
        opened = torch.sigmoid(gates - bias).repeat_interleave(fields.shape[1] // self.fields, dim=1)
        return fields * opened


class Norms(Module):
    """x -> |x| for each field; all of one size."""

    def __init__(self, layer: nn.NormPool) -> None:
        super().__init__()
        assert layer.in_type.uniform
        self.fields = len(layer.in_type)

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.fields, -1)).square().sum(2).sqrt()


class Mask(Module):
    """x -> mask x."""

    def __init__(self, layer: nn.MaskModule) -> None:
        super().__init__()
        self.register_buffer("mask", layer.mask.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.mask * x


class Sum(Module):
    """A residual sum: of a body and a shortcut, which begin with the same layers."""

    def __init__(self, first: Module, body: Module, shortcut: Module) -> None:
        super().__init__()
        self.first, self.body, self.shortcut = first, body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.body(h) + self.shortcut(h)


class PixelMean(Module):
    """The mean over all pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


def plain(module: Module) -> Module:
    """The plain torch module that computes what a module computes in evaluation mode."""
    module.eval()
    if isinstance(module, nn.SequentialModule):
        return torch.nn.Sequential(*map(plain, module))
    for kind, convert in CONVERSIONS.items():
        if isinstance(module, kind):
            return convert(module)
    return module.export() if isinstance(module, nn.EquivariantModule) else module


def _mixing(layer: nn.DisentangleModule) -> Module:
    """A matrix on the channels, as a convolution of one pixel."""
    channels, dims = layer.in_type.size, layer.in_type.gspace.dimensionality
    pixels = torch.eye(channels).view(channels, channels, *[1] * dims)
    conv = [torch.nn.Conv2d, torch.nn.Conv3d][dims - 2](channels, channels, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(layer(GeometricTensor(pixels, layer.in_type)).tensor.transpose(0, 1))
    return conv


def _blur(layer: nn.PointwiseAvgPoolAntialiased2D | nn.PointwiseAvgPoolAntialiased3D) -> Module:
    channels, dims = layer.in_type.size, layer.filter.ndim - 2
    kind = [torch.nn.Conv2d, torch.nn.Conv3d][dims - 2]
    conv = kind(channels, channels, layer.kernel_size, layer.stride, layer.padding, groups=channels, bias=False)
    with torch.no_grad():
        conv.weight.copy_(layer.filter)
    return conv


CONVERSIONS = {
    nn.FourierPointwise: Fourier,
    nn.QuotientFourierPointwise: Fourier,
    nn.GatedNonLinearity1: Gates,
    nn.DisentangleModule: _mixing,
    nn.MaskModule: Mask,
    nn.NormPool: Norms,
    nn.PointwiseAvgPoolAntialiased2D: _blur,
    nn.PointwiseAvgPoolAntialiased3D: _blur,
    nn.PointwiseDropout: lambda layer: torch.nn.Identity(),
}
"""What escnn has no ``export`` for."""
