"""The networks of escnn's examples and documentation, in our words and of any width."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from escnn import gspaces, nn
from escnn.group import Representation, directsum
from escnn.gspaces import GSpace, GSpace2D
from escnn.nn import EquivariantModule, FieldType, GeometricTensor, SequentialModule
from torch import Tensor

from tests.examples.plain import PixelMean, Sum, plain


class Classifier(torch.nn.Module):
    """An equivariant body whose output is invariant, the mean over its pixels, and a plain head.

    Args:
        body: from images or volumes of its ``in_type`` to trivial fields.
        hidden: width of the head; 0 for a single linear layer.
        classes: that are told apart.
    """

    def __init__(self, body: SequentialModule, hidden: int, classes: int) -> None:
        super().__init__()
        assert all(rho.is_trivial() for rho in body.out_type.representations)
        self.in_type, self.body = body.in_type, body
        width = body.out_type.size
        deep = (
            [torch.nn.Linear(width, hidden), torch.nn.BatchNorm1d(hidden), torch.nn.ELU(), torch.nn.Dropout(0.1)]
            if hidden
            else []
        )
        self.head = torch.nn.Sequential(*deep, torch.nn.Linear(hidden or width, classes))

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(self.in_type(x)).tensor
        return self.head(h.mean(tuple(range(2, h.ndim))))

    def export(self) -> torch.nn.Sequential:
        """The plain torch modules that compute the same, in evaluation mode."""
        return torch.nn.Sequential(plain(self.body), PixelMean(), self.head).eval()


class Residual(EquivariantModule):
    """body(first(x)) + shortcut(first(x))."""

    def __init__(self, first: EquivariantModule, body: EquivariantModule, shortcut: EquivariantModule) -> None:
        super().__init__()
        assert body.out_type == shortcut.out_type
        self.first, self.body, self.shortcut = first, body, shortcut
        self.in_type, self.out_type = first.in_type, body.out_type

    def forward(self, x: GeometricTensor) -> GeometricTensor:
        h = self.first(x)
        return self.body(h) + self.shortcut(h)

    def evaluate_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.body.evaluate_output_shape(input_shape)

    def export(self) -> Sum:
        return Sum(plain(self.first), plain(self.body), plain(self.shortcut))


def copies(space: GSpace, rho: Representation, number: int) -> FieldType:
    return space.type(*[rho] * number)


# ---------------------------------------------------------------------- on the plane


def c8_steerable_cnn(
    widths: Sequence[int] = (24, 48, 48, 96, 96, 64), size: int = 29, hidden: int = 64, classes: int = 10
) -> Classifier:
    """The tutorial's CNN: regular fields of C8, blurred after every second convolution, the strongest orientation.

    Args:
        widths: regular fields after each convolution; the first is 7 x 7, the others 5 x 5.
        size: of the images, outside whose largest disc nothing is seen.
        hidden: width of the head.
        classes: that are told apart.
    """
    space = gspaces.rot2dOnR2(8)
    field = space.type(space.trivial_repr)
    layers: list[EquivariantModule] = [nn.MaskModule(field, size, margin=1)]
    for i, width in enumerate(widths):
        out, kernel = copies(space, space.regular_repr, width), 5 if i else 7
        layers += [nn.R2Conv(field, out, kernel, padding=2 if i else 1, bias=False)]
        layers += [nn.InnerBatchNorm(out), nn.ReLU(out)]
        if i % 2:
            layers.append(nn.PointwiseAvgPoolAntialiased2D(out, 0.66, 2 if i + 1 < len(widths) else 1))
        field = out
    return Classifier(SequentialModule(*layers, nn.GroupPooling(field)), hidden, classes)


def wide_resnet(
    rotations: Sequence[int] = (8, 4, 1), widths: Sequence[int] = (4, 40, 113, 452), blocks: int = 4, classes: int = 10
) -> Classifier:
    """The E(2)-equivariant Wide ResNet: three stages of pre-activated blocks, each of fewer rotations than the last.

    Args:
        rotations: of each stage, reflections besides; where two follow that differ, the fields are restricted.
        widths: regular fields of the first convolution and of each stage; the last stage ends in trivial fields.
        blocks: in each stage; the first of the second and third stage halves the image.
        classes: that are told apart.
    """
    space = gspaces.flipRot2dOnR2(rotations[0])
    image, field = copies(space, space.trivial_repr, 3), copies(space, space.regular_repr, widths[0])
    layers: list[EquivariantModule] = [_flat(image, field, 5)]
    for stage, (order, width) in enumerate(zip(rotations, widths[1:], strict=True)):
        if stage and order != rotations[stage - 1]:
            restriction = nn.RestrictionModule(field, (0, order))
            layers += [restriction, nn.DisentangleModule(restriction.out_type)]
            field = layers[-1].out_type
            space = field.gspace
        for block in range(blocks):
            inner, stride = copies(space, space.regular_repr, width), 2 if stage and not block else 1
            last = stage == len(rotations) - 1 and block == blocks - 1
            out = copies(space, space.trivial_repr, width) if last else inner
            layers.append(_wide_block(field, inner, out, stride))
            field = out
    return Classifier(SequentialModule(*layers, nn.InnerBatchNorm(field), nn.ReLU(field)), 0, classes)


def _wide_block(field: FieldType, inner: FieldType, out: FieldType, stride: int) -> Residual:
    """Normalised, rectified and convolved twice, beside a convolution of one pixel."""
    kernel = 5 if field.gspace.fibergroup.order() > 8 else 3
    first = SequentialModule(nn.InnerBatchNorm(field), nn.ReLU(field))
    body = SequentialModule(
        _flat(field, inner, kernel), nn.InnerBatchNorm(inner), nn.ReLU(inner), nn.PointwiseDropout(inner, 0.3),
        _flat(inner, out, kernel, stride),
    )  # fmt: skip
    return Residual(first, body, _flat(field, out, 1, stride))


def _flat(field: FieldType, out: FieldType, kernel: int, stride: int = 1) -> nn.R2Conv:
    """A convolution with more frequencies than escnn takes by default, and no bias."""
    assert isinstance(field.gspace, GSpace2D)
    return nn.R2Conv(
        field, out, kernel, padding=kernel // 2, stride=stride, bias=False, frequencies_cutoff=lambda r: 3 * r
    )


# ---------------------------------------------------------------------- in space


def octahedral_cnn(widths: Sequence[int] = (2, 4), classes: int = 10) -> Classifier:
    """Regular fields of the 24 rotations of the cube, rectified, the largest of each neighbourhood."""
    space = gspaces.octaOnR3()
    return _polyhedral(nn.R3Conv, space, space.regular_repr, widths, classes)


def icosahedral_cnn(widths: Sequence[int] = (4, 8), classes: int = 10) -> Classifier:
    """Functions on the vertices of the icosahedron, with kernels on shells of its vertices."""
    space = gspaces.icoOnR3()
    return _polyhedral(nn.R3IcoConv, space, space.fibergroup.ico_vertices_representation, widths, classes)


def _polyhedral(
    conv: type[nn.R3Conv], space: GSpace, rho: Representation, widths: Sequence[int], classes: int
) -> Classifier:
    field, layers = space.type(space.trivial_repr), []
    for width in widths:
        out = copies(space, rho, width)
        layers += [conv(field, out, 3, padding=1), nn.IIDBatchNorm3d(out), nn.ReLU(out)]
        layers += [nn.PointwiseMaxPool3D(out, 3, 2, 1)]
        field = out
    return Classifier(SequentialModule(*layers, nn.GroupPooling(field)), 0, classes)


def se3_resnet(
    fields: Sequence[int] = (3, 2, 6, 12, 8),
    degrees: Sequence[int] = (2, 3, 3, 3, 3),
    channels: Sequence[int] = (2, 5, 5, 10),
    band_limit: int = 2,
    samples: int = 4,
    pooled: int = 128,
    hidden: int = 256,
    classes: int = 10,
) -> Classifier:
    """The SE(3)-equivariant ResNet: tensor fields, ELUs on sampled rotations, an average over sampled directions.

    Args:
        fields: of polynomials, after the first convolution and after each block.
        degrees: of these polynomials.
        channels: functions on SO(3) inside each block, of a degree up to ``band_limit``.
        band_limit: of them.
        samples: orbits of the 24 rotations of the cube on which they are sampled.
        pooled: functions on the sphere at the end.
        hidden: width of the head.
        classes: that are told apart.
    """
    space = gspaces.rot3dOnR3()
    so3 = space.fibergroup
    types = [copies(space, _polynomials(space, d), n) for d, n in zip(degrees, fields, strict=True)]
    image = space.type(space.trivial_repr)
    layers: list[EquivariantModule] = [nn.R3Conv(image, types[0], 5, padding=2, bias=False, initialize=False)]
    for (field, out), number in zip(pairwise(types), channels, strict=True):
        activation = nn.FourierELU(
            space, number, so3.bl_irreps(band_limit), type="thomson_cube", N=samples, inplace=False
        )
        inner = activation.in_type
        body = SequentialModule(
            nn.R3Conv(field, inner, 3, padding=1, bias=False, initialize=False), nn.IIDBatchNorm3d(inner), activation,
            nn.R3Conv(inner, out, 3, padding=1, stride=2, bias=False, initialize=False),
        )  # fmt: skip
        shortcut = SequentialModule(
            nn.PointwiseAvgPoolAntialiased3D(field, 0.33, 2, 1),
            nn.R3Conv(field, out, 1, bias=False, initialize=False),
        )
        layers.append(Residual(nn.IdentityModule(field), body, shortcut))
    directions = so3.sphere_grid(type="thomson_cube", N=1)  # the vertices of a snub cube
    pool = nn.QuotientFourierELU(
        space, (False, -1), pooled, so3.bl_irreps(2), grid=directions, out_irreps=so3.bl_irreps(0), inplace=False
    )
    layers.append(nn.R3Conv(types[-1], pool.in_type, 3, bias=False, initialize=False))
    return Classifier(_drawn(SequentialModule(*layers, pool)), hidden, classes)


def so3_gated_cnn(widths: Sequence[int] = (4, 8), classes: int = 10) -> Classifier:
    """Vector fields, each opened by the sigmoid of a scalar field, and their lengths at the end."""
    space = gspaces.rot3dOnR3()
    vector = space.fibergroup.irrep(1)
    field, layers = space.type(space.trivial_repr), []
    for width in widths:
        gated = nn.GatedNonLinearity1(space.type(*[space.trivial_repr] * width, *[vector] * width))
        layers += [nn.R3Conv(field, gated.in_type, 3, padding=1, initialize=False), nn.IIDBatchNorm3d(gated.in_type)]
        layers += [gated, nn.PointwiseAvgPoolAntialiased3D(gated.out_type, 0.33, 2, 1)]
        field = gated.out_type
    return Classifier(_drawn(SequentialModule(*layers, nn.NormPool(field))), 0, classes)


def _polynomials(space: GSpace, degree: int) -> Representation:
    """Tensors of rank up to a degree, as a representation."""
    vector = space.fibergroup.irrep(1)
    tensors = [space.trivial_repr]
    for _ in range(degree):
        tensors.append(tensors[-1].tensor(vector) if len(tensors) > 1 else vector)
    return directsum(tensors, name=f"polynomials_{degree}")


def _drawn(body: SequentialModule) -> SequentialModule:
    """The network with weights drawn at random, which is as good as escnn's initialisation for a few layers."""
    for module in body.modules():
        if isinstance(module, nn.R3Conv):
            torch.nn.init.normal_(module.weights, std=module.weights.numel() ** -0.5)
    return body
