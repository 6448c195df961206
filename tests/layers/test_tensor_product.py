"""The soft tensor product is quadratic: the suite's linear statements are made of its matrix.

escnn's own forward fails on features without a grid, so it is compared with on images, below.
"""

import pytest
import torch
from escnn import nn
from escnn.nn import GeometricTensor

import escnn_soft as es
from escnn_soft import SoftTensorProduct
from escnn_soft.errors import ArgumentError, FieldTypeError, GSpaceError, SoftnessError
from escnn_soft.functions import act_on_fibres
from escnn_soft.testing.conformance import ConformanceSuite, assert_close
from tests.cases import planar, point


def types(name="D3"):
    s = point(name)
    return s.type(*[s.irrep(1, 1)] * 2), s.type(*[s.regular_repr] * 2)


def slow(layer, x):
    """Entry by entry."""
    matrix, fields = layer.expand_parameters()[0].detach(), len(layer.in_type)
    n, m = x.shape[1] // fields, matrix.shape[0] // fields
    y = torch.zeros(len(x), matrix.shape[0], dtype=x.dtype)
    for c in range(fields):
        for o in range(m):
            for i in range(n):
                for j in range(n):
                    y[:, c * m + o] += matrix[c * m + o, i * n + j] * x[:, c * n + i] * x[:, c * n + j]
    return y


class TestSoftTensorProduct(ConformanceSuite):
    def make(self, softness):
        return SoftTensorProduct(*types(), softness=softness)

    def dense(self, layer):
        return layer.expand_parameters()[0].detach()

    def test_forward_is_the_dense_weight(self):
        for softness in self.dial:
            layer = self.trained(softness)
            x = self.inputs(layer)
            assert_close(layer(x).tensor, slow(layer, x.tensor), 1e-12, "forward")

    def test_certificate_holds(self):
        """e(g) is the error of the matrix between x (x) x and the output, and bounds the layer's by ||x||^2."""
        for softness in (0.0, 0.5, 1.0):
            layer = self.trained(softness)
            certified, matrix = layer.certificate(), self.dense(layer)
            x = self.inputs(layer)
            for g in layer.in_type.fibergroup.elements:
                rho = torch.from_numpy(layer.in_type.representations[0](g))
                outside = torch.from_numpy(layer.out_type.representation(g))
                error = outside @ matrix - matrix @ torch.kron(rho, rho)
                assert certified.at(g) == pytest.approx(error.norm().item(), abs=1e-9)
                moved = GeometricTensor(act_on_fibres(g, x.tensor, layer.in_type), layer.in_type)
                deviation = layer(moved).tensor - act_on_fibres(g, layer(x).tensor, layer.out_type)
                limit = certified.at(g) * x.tensor.square().sum(1) + 1e-9
                assert (deviation.norm(dim=1) <= limit).all()
            assert certified.lipschitz == float("inf")
            assert "quadratic" in certified.refusal(layer.in_type.fibergroup.elements[1], (1, 4))

    def test_levels_are_stable_under_the_group(self):
        for bound in self.cutoffs:
            layer, span = self.make(0.0), self.span(es.Cutoff(bound))
            shape = self.dense(layer).shape
            for g in layer.in_type.fibergroup.elements:
                rho = torch.from_numpy(layer.in_type.representations[0](g))
                outside = torch.from_numpy(layer.out_type.representation(g))
                moved = outside @ span.view(-1, *shape) @ torch.kron(rho, rho).T
                moved = moved.flatten(1)
                assert (moved - moved @ span.T @ span).abs().max() < 1e-7

    def test_softness_0_is_equivariant(self):
        layer = self.trained(0.0)
        assert layer.certificate().relative.sup < 1e-9

    def test_error_never_shrinks_with_softness(self):
        layer = self.trained(0.0)
        errors = []
        for softness in self.dial:
            layer.softness = softness
            errors.append([layer.certificate().at(g) for g in layer.in_type.fibergroup.elements])
        assert (torch.tensor(errors).diff(dim=0) > -1e-9).all()


def test_from_hard_images_and_initialisation() -> None:
    s = planar("C4")
    field = s.type(*[s.regular_repr] * 2)
    torch.manual_seed(7)
    hard = nn.TensorProductModule(field, field)
    torch.manual_seed(7)
    assert torch.equal(SoftTensorProduct(field, field).weights, hard.weights)
    soft = SoftTensorProduct.from_hard(hard, softness=0.3)
    assert soft.weights is hard.weights
    x = field(torch.randn(2, 8, 4, 5))
    assert (soft(x).tensor - hard(x).tensor).abs().max() < 1e-5
    assert (soft.export()(x.tensor) - hard(x).tensor).abs().max() < 1e-5


VEC, REG = types()
BAD = {
    "not uniform": (lambda: SoftTensorProduct(VEC + REG, VEC + REG), FieldTypeError, "copies of one representation"),
    "another number": (lambda: SoftTensorProduct(VEC, REG + REG), FieldTypeError, "out_type="),
    "softness": (lambda: SoftTensorProduct(VEC, REG, softness=2), SoftnessError, "softness=2"),
    "gspaces": (lambda: SoftTensorProduct(VEC, types("D5")[1]), GSpaceError, "the gspace of in_type"),
    "from_hard": (
        lambda: SoftTensorProduct.from_hard(torch.nn.Linear(2, 2)),
        ArgumentError,
        "a TensorProductModule",
    ),
    "soft": (lambda: SoftTensorProduct.from_hard(SoftTensorProduct(VEC, REG)), ArgumentError, "not soft yet"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_argument(name) -> None:
    call, error, message = BAD[name]
    with pytest.raises(error, match=f"(?s){message}"):
        call()
