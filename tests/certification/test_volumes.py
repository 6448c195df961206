"""Fields in space: rotations and reflections of the cube move voxels onto voxels; nothing else is covered."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from escnn import nn
from escnn.group import directsum
from escnn.gspaces import GSpace3D

from escnn_soft import SoftR3Conv, SoftR3ConvTransposed, SoftR3IcoConv, SoftR3IcoConvTransposed
from escnn_soft.certification import certify
from escnn_soft.functions import act, pixel_elements
from tests.cases import small_types, spatial
from tests.certification.checks import check, measured, random_field, shake

OCTA, SO3, ICO = spatial("octahedral"), spatial("SO(3)"), spatial("icosahedral")
VERTICES = ICO.type(ICO.fibergroup.ico_vertices_representation)
FACES = OCTA.type(OCTA.trivial_repr, OCTA.fibergroup.cube_faces_representation)
CUBE = OCTA.type(OCTA.fibergroup.irrep(1), OCTA.trivial_repr)
VECTOR = SO3.fibergroup.irrep(1)
VECTORS = SO3.type(VECTOR, VECTOR)
GATES = SO3.type(SO3.trivial_repr, SO3.trivial_repr, VECTOR, VECTOR)
GATED = SO3.type(directsum([SO3.trivial_repr, VECTOR], name="scalar_and_vector"))
TENSORS = SO3.type(directsum([SO3.trivial_repr, VECTOR.tensor(VECTOR)], name="scalar_and_matrix"))
ROTATIONS = SO3.fibergroup.bl_irreps(1)
DIRECTIONS = SO3.fibergroup.sphere_grid(type="thomson_cube", N=1)

MODULES = {
    "soft": lambda: SoftR3Conv(FACES, FACES, 3, padding=1, softness=0.3),
    "soft, strided": lambda: SoftR3Conv(CUBE, FACES, 3, padding=1, stride=2, softness=0.3),
    "soft, reflected": lambda: SoftR3Conv(FACES, CUBE, 3, padding=1, padding_mode="reflect", softness=0.3),
    "soft, dilated": lambda: SoftR3Conv(CUBE, CUBE, 3, padding=2, dilation=2, softness=0.3),
    "soft, SO(3)": lambda: SoftR3Conv(VECTORS, GATES, 3, padding=1, softness=0.3),
    "soft, icosahedral": lambda: SoftR3IcoConv(VERTICES, VERTICES, 3, padding=1, softness=0.3),
    "soft, transposed": lambda: SoftR3ConvTransposed(CUBE, CUBE, 3, padding=1, stride=2, softness=0.3),
    "soft, icosahedral, transposed": lambda: SoftR3IcoConvTransposed(VERTICES, VERTICES, 3, stride=2, softness=0.3),
    "R3Conv": lambda: nn.R3Conv(FACES, FACES, 3, padding=1, stride=2),
    "R3ConvTransposed": lambda: nn.R3ConvTransposed(FACES, FACES, 3, stride=2),
    "R3IcoConv": lambda: nn.R3IcoConv(VERTICES, VERTICES, 3),
    "R3IcoConvTransposed": lambda: nn.R3IcoConvTransposed(VERTICES, VERTICES, 3),
    "ReLU": lambda: nn.ReLU(FACES),
    "ELU": lambda: nn.ELU(VERTICES, alpha=1.7),
    "gated": lambda: nn.GatedNonLinearity1(GATES),
    "norm": lambda: nn.NormNonLinearity(VECTORS),
    "Fourier ELU": lambda: nn.FourierELU(SO3, 1, ROTATIONS, type="thomson_cube", N=1, inplace=False),
    "Fourier ELU, uneven": lambda: nn.FourierELU(SO3, 1, ROTATIONS, type="ico", inplace=False),
    "quotient Fourier ELU": lambda: nn.QuotientFourierELU(
        SO3, (False, -1), 2, ROTATIONS, grid=DIRECTIONS, out_irreps=SO3.fibergroup.bl_irreps(0), inplace=False
    ),
    "tensor product": lambda: nn.TensorProductModule(GATED, GATED),
    "InnerBatchNorm": lambda: nn.InnerBatchNorm(FACES),
    "IIDBatchNorm": lambda: nn.IIDBatchNorm3d(TENSORS),
    "NormBatchNorm": lambda: nn.NormBatchNorm(VECTORS),
    "GNormBatchNorm": lambda: nn.GNormBatchNorm(VECTORS),
    "average": lambda: nn.PointwiseAvgPool3D(CUBE, 3, 2, 1),
    "average, antialiased": lambda: nn.PointwiseAvgPoolAntialiased3D(CUBE, 0.33, 2, 1),
    "maximum": lambda: nn.PointwiseMaxPool3D(FACES, 3, 2, 1),
    "maximum, antialiased": lambda: nn.PointwiseMaxPoolAntialiased3D(FACES, 3, 2, 1),
    "adaptive average": lambda: nn.PointwiseAdaptiveAvgPool3D(FACES, 2),
    "adaptive maximum": lambda: nn.PointwiseAdaptiveMaxPool3D(FACES, 2),
    "upsampling": lambda: nn.R3Upsampling(CUBE, 2, mode="trilinear"),
    "upsampling, corners": lambda: nn.R3Upsampling(CUBE, size=(7, 7, 7), mode="trilinear", align_corners=True),
    "GroupPooling": lambda: nn.GroupPooling(FACES),
    "NormPool": lambda: nn.NormPool(VECTORS),
    "disentangle": lambda: nn.DisentangleModule(FACES),
    "dropout": lambda: nn.PointwiseDropout(FACES),
}


def some(space: GSpace3D) -> list:
    """The identity and a few other elements, quarter turns and three-fold ones among them."""
    elements = pixel_elements(space)
    return [elements[0], *elements[1 :: max(1, len(elements) // 4)]]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bound_holds(name, dtype):
    module = MODULES[name]().to(dtype)
    shake(module)
    x = random_field(module.in_type, 2, 5, 5, 5, dtype=dtype)
    elements = some(module.in_type.gspace)
    check(module, x, elements=elements)
    soft = SoftR3Conv(module.in_type, module.in_type, 3, padding=1, softness=0.1).to(dtype)
    shake(soft)
    check(nn.SequentialModule(soft, module), x, elements=elements[:3])


@pytest.mark.parametrize("name", MODULES)
@torch.no_grad()
def test_the_lipschitz_constant_is_one(name):
    module = MODULES[name]()
    shake(module)
    x = random_field(module.in_type, 1, 5, 5, 5)
    constant = certify(module, x, elements=[x.type.fibergroup.identity]).lipschitz
    assert math.isfinite(constant) or name == "tensor product"
    for scale in (1e-2, 1.0, 10.0):
        for sign in (-1.0, 1.0):
            with torch.enable_grad():  # along a gradient the change is largest
                z = x.tensor.clone().requires_grad_()
                (gradient,) = torch.autograd.grad(module(x.type(z * 1.0)).tensor.square().sum(), z)
            step = scale * sign * gradient / (gradient.norm() + 1e-20)
            change = (module(x.type(x.tensor + step)).tensor.double() - module(x).tensor.double()).norm()
            assert change <= constant * step.double().norm() * (1 + 1e-4) + 1e-5


@pytest.mark.parametrize("name", ["full octahedral", "dihedral D4", "full cylinder D4", "mirror", "inversion"])
@pytest.mark.parametrize("sides", [(5, 5, 5), (5, 3, 7)])
def test_networks_in_space(name, sides):
    space = spatial(name)
    field, out = small_types(space)
    model = nn.SequentialModule(
        SoftR3Conv(field, out, 3, padding=1, softness=0.4), nn.IIDBatchNorm3d(out), nn.NormNonLinearity(out),
        nn.PointwiseAvgPool3D(out, 3, 2, 1), SoftR3Conv(out, field, 3, padding=1, softness=0.4),
    )  # fmt: skip
    shake(model)
    for lookahead, scale in ((None, 1.0), (0, 1e-3), (1, 1e2)):
        cert = check(model, random_field(field, 2, *sides, scale=scale), lookahead=lookahead, elements=some(space))
        assert cert.bound > 0


def test_the_bound_is_close_to_what_is_measured():
    model = nn.SequentialModule(
        SoftR3Conv(FACES, FACES, 3, softness=0.5), nn.InnerBatchNorm(FACES), nn.ReLU(FACES),
        SoftR3Conv(FACES, FACES, 3, softness=0.5),
    )  # fmt: skip
    shake(model)
    x = random_field(FACES, 2, 9, 9, 9)
    cert = check(model, x, elements=some(OCTA)[1:])
    errors = torch.stack([measured(model, x, g) for g in cert.covered])
    assert (torch.tensor(cert.samples) / errors).median() < 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mean_that_is_not_invariant_counts(dtype):
    norm = nn.IIDBatchNorm3d(TENSORS).eval().to(dtype)
    with torch.no_grad():
        for name, buffer in norm.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
    cert = check(norm, random_field(TENSORS, 2, 3, 3, 3, dtype=dtype), elements=some(SO3))
    assert cert.bound > 0.1


def test_a_projection_in_single_precision_counts_in_double():
    mixed = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0].numpy()
    rotated = directsum([SO3.trivial_repr, VECTOR], change_of_basis=mixed, name="scalar_and_vector, mixed")
    field = SO3.type(rotated, rotated)
    norm = nn.IIDBatchNorm3d(field)
    for _ in range(3):
        norm(random_field(field, 4, 3, 3, 3, scale=10.0))
    cert = check(norm.eval().double(), random_field(field, 2, 3, 3, 3, dtype=torch.float64), elements=some(SO3))
    assert 1e-10 < cert.bound < 1e-3


class Functional(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = SoftR3Conv(FACES, FACES, 3, softness=0.2), function

    def forward(self, x):
        return self.function(self.conv(x).tensor)


@pytest.mark.parametrize(
    ("function", "covered"),
    [
        (lambda t: t.mean((2, 3, 4)), True),
        (lambda t: t.amax(dim=(-1, -2, -3)), True),
        (lambda t: F.adaptive_avg_pool3d(t, 1).flatten(1), True),
        (lambda t: t.mean((2, 3)), False),
        (lambda t: F.adaptive_avg_pool3d(t, 3), True),
        (lambda t: t + t.flip(4), False),
    ],
)
def test_functions_between_modules(function, covered):
    model = Functional(function).eval()
    cert = certify(model, random_field(FACES, 1, 5, 5, 5), elements=some(OCTA))
    assert cert.certified == covered, cert.not_covered


UNCOVERED = {
    "even stride": (nn.R3Conv(FACES, FACES, 3, padding=1, stride=2), 6, "off-centre on size 6"),
    "average": (nn.PointwiseAvgPool3D(FACES, 2), 5, "off-centre on size 5"),
    "maximum": (nn.PointwiseMaxPool3D(FACES, 3, 2, 1), 6, "off-centre on size 6"),
    "blur": (nn.PointwiseAvgPoolAntialiased3D(FACES, 0.33, 2), 6, "off-centre on size 6"),
    "oblong window": (nn.PointwiseAvgPool3D(FACES, (1, 1, 3), 1), 5, "kernel (1, 1, 3) differs between the axes"),
    "oblong output": (nn.PointwiseAdaptiveMaxPool3D(FACES, (2, 1, 1)), 5, "output size (2, 1, 1) differs"),
    "rectified vectors": (nn.ReLU(FACES), 5, None),
}


@pytest.mark.parametrize("name", UNCOVERED)
def test_uncovered_layers_are_named(name):
    module, size, reason = UNCOVERED[name]
    cert = certify(module.eval(), random_field(FACES, 1, size, size, size), elements=some(OCTA))
    assert cert.certified == (reason is None)
    assert all(reason in why for _, why in cert.not_covered)


def test_windows_need_to_be_alike_along_swapped_axes_only():
    pool = nn.PointwiseAvgPool3D(CUBE, (3, 1, 1), 1).eval()
    x = random_field(CUBE, 1, 5, 5, 5)
    cert = certify(pool, x)
    about_z = [g for g in pixel_elements(OCTA) if abs(OCTA.basespace_action(g)[2, 2]) > 0.5]
    assert not cert.certified
    assert set(cert.covered) == set(about_z)
    check(pool, x, elements=about_z)


def test_elements_off_the_voxels():
    for space, count in ((SO3, 24), (ICO, 12), (spatial("dihedral D3"), 2)):
        field = space.type(space.trivial_repr)
        layer = SoftR3Conv(field, field, 3, softness=0.5).eval()
        x = random_field(field, 1, 5, 5, 5)
        cert = check(layer, x)
        assert len(cert.covered) == count
        assert "interpolated" in cert.not_covered[0][1]
        other = next(g for g in space.fibergroup.testing_elements() if g not in cert.covered)
        assert cert.at(other) == math.inf
        assert "interpolated" in certify(layer, x, elements=[other]).not_covered[0][1]


@pytest.mark.parametrize(("subgroup", "count"), [("octa", 24), ((False, 4), 4)])
def test_restriction_to_a_subgroup(subgroup, count):
    restricted = nn.RestrictionModule(VECTORS, subgroup)
    split = nn.DisentangleModule(restricted.out_type)
    field = split.out_type
    model = nn.SequentialModule(
        SoftR3Conv(VECTORS, VECTORS, 3, softness=0.3), restricted, split, SoftR3Conv(field, field, 3, softness=0.3)
    )
    shake(model)
    x = random_field(VECTORS, 1, 5, 5, 5)
    cert = certify(model, x)
    assert cert.certified
    assert len(cert.covered) == count
    assert any("outside the subgroup" in why for _, why in cert.not_covered) == (count < 24)
    child = SO3.restrict(subgroup)[2]
    for element, (bound,) in zip(cert.covered, cert.samples, strict=True):
        with torch.no_grad():
            there, back = model(act(element, x)), act(child(element), model(x))
        assert (there.tensor.double() - back.tensor.double()).norm() <= bound
