"""Each rule: the bound holds for the module alone and after a soft layer, and its constant is one."""

from __future__ import annotations

import math

import pytest
import torch
from escnn import gspaces, nn
from escnn.group import directsum
from escnn.nn import GeometricTensor

from escnn_soft import SoftR2Conv, SoftTensorProduct
from escnn_soft.certification import certify
from tests.cases import planar, point
from tests.certification.checks import check, random_field, shake, violations

C4, D4, SO2 = planar("C4"), planar("D4"), planar("SO(2)")
REGULAR = C4.type(*[C4.regular_repr] * 2)
DIHEDRAL = D4.type(D4.regular_repr, D4.trivial_repr)
VECTORS = D4.type(D4.irrep(1, 1), D4.irrep(1, 1), D4.irrep(1, 0))
GATES = D4.type(*[D4.trivial_repr] * 3, D4.irrep(1, 1), D4.irrep(1, 1), D4.irrep(1, 0))


def induced(space):
    subgroup, _, _ = space.fibergroup.subgroup((None, 2))
    return space.type(space.fibergroup.induced_representation((None, 2), subgroup.irrep(1), "induced"))


MODULES = {
    "ReLU": lambda: nn.ReLU(REGULAR),
    "ReLU in place": lambda: nn.ReLU(DIHEDRAL, inplace=True),
    "LeakyReLU": lambda: nn.LeakyReLU(REGULAR, 0.2),
    "ELU": lambda: nn.ELU(REGULAR, alpha=1.7),
    "sigmoid": lambda: nn.PointwiseNonLinearity(DIHEDRAL, "p_sigmoid"),
    "tanh": lambda: nn.PointwiseNonLinearity(DIHEDRAL, "p_tanh"),
    "CReLU": lambda: nn.ConcatenatedNonLinearity(REGULAR, "c_relu"),
    "concatenated tanh": lambda: nn.ConcatenatedNonLinearity(REGULAR, "c_tanh"),
    "gated": lambda: nn.GatedNonLinearity1(GATES),
    "gated, gates kept": lambda: nn.GatedNonLinearity1(GATES, drop_gates=False),
    "gated, uniform": lambda: nn.GatedNonLinearityUniform(
        D4.type(directsum([D4.trivial_repr, D4.irrep(1, 1)], name="gate_and_vector"))
    ),
    "norm": lambda: nn.NormNonLinearity(VECTORS),
    "norm, squash": lambda: nn.NormNonLinearity(VECTORS, "squash", bias=False),
    "norm, sigmoid": lambda: nn.NormNonLinearity(VECTORS, "n_sigmoid"),
    "norm, softplus": lambda: nn.NormNonLinearity(VECTORS, "n_softplus"),
    "vector field": lambda: nn.VectorFieldNonLinearity(REGULAR),
    "Fourier": lambda: nn.FourierPointwise(C4, 2, C4.fibergroup.bl_irreps(1), type="regular", N=4, inplace=False),
    "Fourier ELU": lambda: nn.FourierELU(D4, 1, D4.fibergroup.bl_irreps(1), type="regular", N=4),
    "tensor product": lambda: nn.TensorProductModule(REGULAR, REGULAR),
    "tensor product, soft": lambda: SoftTensorProduct(REGULAR, REGULAR, softness=0.4),
    "InnerBatchNorm": lambda: nn.InnerBatchNorm(DIHEDRAL),
    "IIDBatchNorm": lambda: nn.IIDBatchNorm2d(GATES),
    "NormBatchNorm": lambda: nn.NormBatchNorm(VECTORS),
    "GNormBatchNorm": lambda: nn.GNormBatchNorm(VECTORS),
    "average": lambda: nn.PointwiseAvgPool2D(REGULAR, 3, 2, 1),
    "average, antialiased": lambda: nn.PointwiseAvgPoolAntialiased2D(REGULAR, 0.6, 2),
    "maximum": lambda: nn.PointwiseMaxPool2D(REGULAR, 3, 2, 1),
    "maximum, antialiased": lambda: nn.PointwiseMaxPoolAntialiased2D(REGULAR, 3, 2, 1),
    "adaptive average": lambda: nn.PointwiseAdaptiveAvgPool2D(REGULAR, 4),
    "adaptive maximum": lambda: nn.PointwiseAdaptiveMaxPool2D(REGULAR, 4),
    "norm maximum": lambda: nn.NormMaxPool(VECTORS, 3, 2, 1),
    "upsampling": lambda: nn.R2Upsampling(REGULAR, 2),
    "upsampling, corners": lambda: nn.R2Upsampling(REGULAR, size=(13, 13), align_corners=True),
    "GroupPooling": lambda: nn.GroupPooling(DIHEDRAL),
    "NormPool": lambda: nn.NormPool(VECTORS),
    "mask": lambda: nn.MaskModule(REGULAR, 9),
    "reshuffle": lambda: nn.ReshuffleModule(VECTORS, [2, 0, 1]),
    "disentangle": lambda: nn.DisentangleModule(REGULAR),
    "identity": lambda: nn.IdentityModule(REGULAR),
    "dropout": lambda: nn.PointwiseDropout(REGULAR),
    "field dropout": lambda: nn.FieldDropout(VECTORS),
    "R2Conv": lambda: nn.R2Conv(REGULAR, REGULAR, 3, padding=1, stride=2),
    "soft, reflected": lambda: SoftR2Conv(REGULAR, REGULAR, 3, padding=1, padding_mode="reflect", softness=0.3),
    "multiple": lambda: nn.MultipleModule(
        VECTORS, ["a", "a", "b"], [(nn.NormNonLinearity(VECTORS.index_select([0, 1])), "a"),
                                   (nn.IdentityModule(VECTORS.index_select([2])), "b")]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("lookahead", [None, 0])
def test_the_bound_holds(name, lookahead):
    module = MODULES[name]()
    shake(module)
    x = random_field(module.in_type, 2, 9, 9)
    if lookahead is None and not certify(module, x, lookahead=None).certified:
        assert "measured" in certify(module, x, lookahead=None).not_covered[0][1]
        return
    check(module, x, lookahead=lookahead)
    soft = SoftR2Conv(module.in_type, module.in_type, 3, padding=1, softness=0.1)
    shake(soft)
    if name not in ("norm maximum", "vector field"):  # their choices may jump by more than the error of a soft layer
        check(nn.SequentialModule(soft, module), x, lookahead=lookahead)


@pytest.mark.parametrize("name", MODULES)
@torch.no_grad()
def test_the_lipschitz_constant_is_one(name):
    module = MODULES[name]()
    shake(module)
    x = random_field(module.in_type, 1, 9, 9)
    constant = certify(module, x).lipschitz
    assert math.isfinite(constant) or name.startswith("tensor product")
    for scale in (1e-3, 1e-1, 1.0, 10.0):
        for direction in range(3):
            step = scale * torch.randn_like(x.tensor)
            if direction:  # along a gradient the change is largest
                with torch.enable_grad():
                    z = x.tensor.clone().requires_grad_()
                    (gradient,) = torch.autograd.grad(
                        module(x.type(z * 1.0)).tensor.square().sum(), z, allow_unused=True
                    )
                gradient = torch.ones_like(x.tensor) if gradient is None else gradient
                step = scale * gradient / (gradient.norm() + 1e-20) * (-1.0) ** direction
            change = (module(x.type(x.tensor + step)).tensor.double() - module(x).tensor.double()).norm()
            assert change <= constant * step.double().norm() * (1 + 1e-4) + 1e-5


@torch.no_grad()
def test_a_pair_of_gates_and_fields():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            gates, fields = D4.type(*[D4.trivial_repr] * 3), VECTORS
            self.gates = SoftR2Conv(VECTORS, gates, 3, padding=1, softness=0.3)
            self.gated = nn.GatedNonLinearity2((gates, fields))

        def forward(self, x: GeometricTensor) -> GeometricTensor:
            return self.gated(self.gates(x), x)

    model = Model()
    shake(model)
    for lookahead in (None, 1):
        check(model, random_field(VECTORS, 2, 5, 5), lookahead=lookahead)


def test_induced_representations():
    space = gspaces.flipRot2dOnR2(4)
    g = space.fibergroup
    rho = g.induced_representation((None, 4), g.subgroup((None, 4))[0].irrep(1))
    field = space.type(rho)
    for module in (nn.InducedNormNonLinearity(field), nn.InducedNormPool(field), nn.InducedNormBatchNorm(field)):
        shake(module)
        check(module, random_field(field, 2, 5, 5))


def test_the_fourier_non_linearity_of_so2_is_measured():
    g = SO2.fibergroup
    module = nn.FourierELU(SO2, 1, g.bl_irreps(2), type="regular", N=7)  # 7 samples: quarter turns do not permute them
    cert = check(module, random_field(module.in_type, 1, 5, 5))
    assert cert.bound > 1e-4
    vectors = point("SO(2)")
    module = nn.FourierELU(vectors, 1, vectors.fibergroup.bl_irreps(2), type="regular", N=7)
    x = random_field(module.in_type, 2)
    assert "only be measured" in certify(module, x, lookahead=None).not_covered[0][1]
    every = certify(module, x)  # from a grid
    assert every.covered == ("every element",)
    assert violations(module, x, every, list(g.testing_elements(11))) == []
    cert = check(module, x, elements=list(g.testing_elements(3)))
    assert cert.bound < every.bound < 2 * cert.bound
