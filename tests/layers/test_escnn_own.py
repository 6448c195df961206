"""What escnn tests of its own layers, of ours at softness 0 in their place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product

import numpy as np
import pytest
import torch
from escnn import gspaces, nn
from escnn.group import GroupElement
from escnn.nn import EquivariantModule, FieldType

from escnn_soft import (
    SoftLinear,
    SoftR2Conv,
    SoftR2ConvTransposed,
    SoftR3Conv,
    SoftR3ConvTransposed,
    SoftR3IcoConv,
)

PLANES = {
    "C9": lambda: gspaces.rot2dOnR2(9),
    "D7": lambda: gspaces.flipRot2dOnR2(7),
    "reflections": gspaces.flip2dOnR2,
    "trivial": gspaces.trivialOnR2,
}
GEOMETRIES = [
    {"kernel_size": 1, "padding": 0},
    {"kernel_size": 1, "padding": 2, "stride": 2, "dilation": 3, "groups": 3},
    {"kernel_size": 5, "padding": 1, "stride": 2},
    {"kernel_size": 5, "padding": 2, "groups": 3},
    {"kernel_size": 5, "padding": 2, "dilation": 3},
    {"kernel_size": 5, "padding": 0, "stride": 2, "dilation": 3, "groups": 3},
]


def trained(layer: EquivariantModule, size: int = 17) -> EquivariantModule:
    """After two steps of gradient descent."""
    x = torch.randn(2, layer.in_type.size, *[size] * layer.in_type.gspace.dimensionality)
    layer.train()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        (layer(layer.in_type(x)).tensor - 1).square().mean().backward()
        optimizer.step()
    return layer


def check_export(layer: EquivariantModule, size: int = 17) -> None:
    """The exported module computes what the layer does, and its state loads into another export."""
    plain = trained(layer, size).export()
    x = torch.randn(2, layer.in_type.size, *[size] * layer.in_type.gspace.dimensionality)
    y = layer(layer.in_type(x)).tensor
    scale = y.abs().max()
    assert (plain(x) - y).abs().max() < 1e-5 * scale
    other = trained(layer, size).export()
    other.load_state_dict(plain.state_dict())
    assert torch.equal(other(x), plain(x))


def check_equivariance(
    layer: EquivariantModule, elements: Iterable[GroupElement], size: int, tolerance: float = 1e-4
) -> None:
    """In both modes, of a layer with random weights."""
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            if name in ("weights", "bias"):
                weight.normal_()
        x = layer.in_type(torch.randn(1, layer.in_type.size, *[size] * layer.in_type.gspace.dimensionality))
        for train, g in product([True, False], list(elements)):
            layer.train(train)
            y = layer(x)
            error = (layer(x.transform(g)).tensor - y.transform(g).tensor).abs().max()
            assert error < tolerance * y.tensor.abs().max(), (train, g)


def quarters(space: gspaces.GSpace2D) -> list[GroupElement]:
    """The elements of a finite group that map pixels onto pixels."""
    matrices = {g: space.basespace_action(g) for g in space.fibergroup.elements}
    return [g for g, matrix in matrices.items() if np.allclose(matrix, matrix.round())]


# ---------------------------------------------------------------------- export


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("kind", [SoftR2Conv, SoftR2ConvTransposed])
def test_convolutions_of_regular_fields_export(kind, plane, geometry) -> None:
    space, groups = PLANES[plane](), geometry.get("groups", 1)
    in_type, out_type = space.type(*[space.regular_repr] * groups), space.type(*[space.regular_repr] * (2 * groups))
    check_export(kind(in_type, out_type, **geometry, bias=True, softness=0.0))


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("kind", [SoftR2Conv, SoftR2ConvTransposed])
def test_convolutions_of_all_representations_export(kind, plane, dilation) -> None:
    space = PLANES[plane]()
    space.fibergroup._build_quotient_representations()
    field = FieldType(space, list(space.representations.values()))
    for kernel_size in (1, 5):
        check_export(kind(field, field, kernel_size, padding=1, dilation=dilation, bias=True, softness=0.0))


@pytest.mark.parametrize("plane", PLANES)
def test_a_network_exports(plane) -> None:
    space = PLANES[plane]()
    space.fibergroup._build_quotient_representations()
    own = [rho for name, rho in space.representations.items() if name.startswith(("irrep", "regular", "quotient"))]
    pointwise = sorted((rho for rho in own if "pointwise" in rho.supported_nonlinearities), key=lambda rho: rho.size)
    mixed, out = FieldType(space, pointwise), FieldType(space, [space.regular_repr])
    network = nn.SequentialModule(
        SoftR2Conv(mixed, mixed, 7, bias=True, softness=0.0), nn.InnerBatchNorm(mixed), nn.ReLU(mixed, inplace=True),
        nn.PointwiseMaxPool2D(mixed, 3, 2, 1), SoftR2Conv(mixed, out, 3, bias=True, softness=0.0),
        nn.InnerBatchNorm(out, affine=False), nn.ELU(out, inplace=True), nn.GroupPooling(out),
    )  # fmt: skip
    check_export(network)


def test_convolutions_in_space_export() -> None:
    space = gspaces.octaOnR3()
    field = space.type(space.trivial_repr, space.irrep(1))
    for geometry in ({"padding": 1}, {"stride": 2}):
        check_export(SoftR3Conv(field, field, 3, **geometry, softness=0.0), size=7)
        check_export(SoftR3ConvTransposed(field, field, 3, **geometry, softness=0.0), size=7)


def test_linear_maps_export() -> None:
    space = gspaces.no_base_space(gspaces.flipRot2dOnR2(4).fibergroup)
    field = FieldType(space, list(space.representations.values()))
    check_export(SoftLinear(field, field, softness=0.0))


# ---------------------------------------------------------------------- one pixel


@pytest.mark.parametrize(
    "space",
    [gspaces.trivialOnR2(), gspaces.flip2dOnR2(np.pi / 2), gspaces.rot2dOnR2(-1, 5), gspaces.flipRot2dOnR2(-1, 5),
     gspaces.trivialOnR3(), gspaces.mirOnR3(), gspaces.rot3dOnR3(3), gspaces.flipRot3dOnR3(3)],
    ids=lambda space: space.name,
)  # fmt: skip
def test_kernels_of_one_pixel(space) -> None:
    field = space.type(*[psi for psi in space.irreps if psi.attributes["frequency"] < 3])
    kind = SoftR2Conv if space.dimensionality == 2 else SoftR3Conv
    layer = kind(field, field, kernel_size=1, bias=False, recompute=True, softness=0.0)
    x = field(torch.randn(2, field.size, *[3] * space.dimensionality))
    for train in (True, False):
        layer.train(train)
        for _ in range(3):
            g = space.fibergroup.sample()
            error = layer(x.transform_fibers(g)).tensor - layer(x).transform_fibers(g).tensor
            assert error.abs().max() < 1e-4


# ---------------------------------------------------------------------- padding and shapes


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_padding_modes_on_the_plane(mode, size) -> None:
    space = gspaces.flipRot2dOnR2(4, axis=np.pi / 2)
    image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
    layer = SoftR2Conv(image, hidden, size, padding=size // 2, padding_mode=mode, initialize=False, softness=0.0)
    check_equivariance(layer, space.fibergroup.elements, size=9)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_padding_modes_in_space(mode) -> None:
    space = gspaces.octaOnR3()
    image, hidden = space.type(space.trivial_repr), space.type(space.irrep(1))
    layer = SoftR3Conv(image, hidden, 3, padding=1, padding_mode=mode, initialize=False, softness=0.0)
    check_equivariance(layer, space.fibergroup.elements[:6], size=5)


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9, 4, 8])
def test_shapes_of_the_output(kernel_size) -> None:
    space = gspaces.flipRot2dOnR2(4, axis=np.pi / 2)
    image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
    x = image(torch.randn(1, 1, 17, 17))
    for mode, padding, stride in [
        *product(["zeros"], [0, 1, 2, 4], [1, 2, 3]), ("circular", 4, 1), ("reflect", 2, 2), ("replicate", 1, 3)
    ]:  # fmt: skip
        layer = SoftR2Conv(
            image, hidden, kernel_size, padding=padding, stride=stride, padding_mode=mode, initialize=False,
            softness=0.0,
        ).eval()  # fmt: skip
        size = math.floor((17 + 2 * padding - kernel_size) / stride + 1)
        assert layer(x).shape == layer.evaluate_output_shape(x.shape) == (1, 8, size, size)


# ---------------------------------------------------------------------- building and equivariance


@pytest.mark.parametrize(
    "space", [gspaces.rot2dOnR2(8), gspaces.flipRot2dOnR2(8, axis=np.pi / 2)], ids=lambda space: space.name
)
def test_all_representations_of_a_finite_group(space) -> None:
    in_type = FieldType(space, list(space.representations.values()))
    layer = SoftR2Conv(in_type, in_type, 7, bias=True, softness=0.0)
    check_equivariance(layer, quarters(space), size=9)
    kernel = layer.eval().filter.clone()
    layer(in_type(torch.randn(1, in_type.size, 9, 9)))
    assert torch.equal(layer.filter, kernel)


@pytest.mark.parametrize(
    ("space", "elements"),
    [(gspaces.rot2dOnR2(-1, 7), [0.0, np.pi / 2, np.pi]), (gspaces.flipRot2dOnR2(-1, 7), [(0, np.pi / 2), (1, 0.0)])],
    ids=["SO(2)", "O(2)"],
)
def test_irreps_of_an_infinite_group_of_the_plane(space, elements) -> None:
    field = space.type(*[space.irrep(*psi) for psi in space.fibergroup.bl_irreps(3)])
    layer = SoftR2Conv(field, field, 7, bias=True, softness=0.0)
    check_equivariance(layer, [space.fibergroup.element(g, "radians") for g in elements], size=9)


@pytest.mark.parametrize("build", [gspaces.rot3dOnR3, gspaces.flipRot3dOnR3])
def test_irreps_of_an_infinite_group_of_space(build) -> None:
    space = build(2)
    field = space.type(*[space.irrep(*psi) for psi in space.fibergroup.bl_irreps(2)])
    layer = SoftR3Conv(field, field, 3, frequencies_cutoff=2.0, bias=True, initialize=False, softness=0.0)
    check_equivariance(layer, space.fibergroup.grid("cube")[::5], size=5)


def test_kernels_on_shells_of_the_icosahedron() -> None:
    space = gspaces.icoOnR3()
    field = space.type(*space.irreps[:3])
    layer = SoftR3IcoConv(field, field, 3, samples="ico", bias=True, softness=0.0)
    tetrahedral = gspaces.rot3dOnR3().fibergroup.grid("tetra")[:4]
    check_equivariance(layer, [space.fibergroup.element(g.to("MAT"), "MAT") for g in tetrahedral], size=3)
