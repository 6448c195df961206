"""Budgets and bounds at the ends of a dtype: near-dependent bases, tiny weights, weights that are no numbers."""

import math

import pytest
import torch
from escnn import gspaces
from torch.nn.utils.parametrize import register_parametrization

import escnn_soft as es
from escnn_soft import Budget, SoftLinear, SoftR2Conv, certificate
from escnn_soft.dial import SoftFilter
from escnn_soft.groups import orthogonal_group, vector
from escnn_soft.layers import graded_kernel
from tests.cases import field_types, planar, point

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
SCALES = [(1.0, 1.0), (1e-3, 30.0), (1.0, 1e-3)]
SUBNORMAL = {
    torch.float16: [1e-5, 1e-6, 1e-7],
    torch.bfloat16: [1e-38, 1e-39, 1e-40],
    torch.float32: [1e-38, 1e-42, 1e-44],
    torch.float64: [],  # whose squares are nothing in the certificate itself
}


def build(name: str, dtype: torch.dtype, kernel_size: int = 3, dilation: int = 1):
    torch.manual_seed(0)
    if name in ("SO(3)", "D3"):
        return SoftLinear(*field_types(point(name))[2]).to(dtype)
    return SoftR2Conv(*field_types(planar(name))[2], kernel_size, dilation=dilation).to(dtype)


def fill(layer, strict: float, soft: float) -> None:
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.randn(parameter.shape).double() * (soft if "soft" in name else strict))


def worst(layer) -> float:
    found = layer.certificate()
    parts = [found.relative.sup] + ([] if found.bias is None else [found.bias.relative.sup])
    return max(parts)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["C4", "flip diagonal", "C8", "O(2)", "SO(3)"])
def test_no_weights_of_any_scale_exceed_a_budget(name, dtype) -> None:
    geometries = [(3, 1)] if name == "SO(3)" else [(3, 1), (5, 2)]
    scales = SCALES + [(scale, other) for scale in SUBNORMAL[dtype] for other in (scale, 30 * scale)]
    for geometry in geometries:
        layer = build(name, dtype, *geometry)
        for eta in (0.05, 0.2, 1.0):
            layer.softness = Budget(eta)
            for strict, soft in scales:
                fill(layer, strict, soft)
                assert worst(layer) <= eta, (geometry, eta, strict, soft)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["C4", "C8", "D3"])
def test_no_weights_of_any_scale_exceed_the_bound(name, dtype) -> None:
    layer = build(name, dtype)
    for softness in (0.0, 0.1, 0.5):
        layer.softness = softness
        for strict, soft in SCALES + [(scale, scale) for scale in SUBNORMAL[dtype]]:
            fill(layer, strict, soft)
            kernel, bias = layer.certificate(), layer.certificate().bias
            bound = layer.bound()
            assert kernel.sup <= bound * kernel.norm, (softness, strict, soft)
            assert bias is None or bias.sup <= bound * math.hypot(kernel.norm, bias.norm)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_dense_weights_of_any_scale_keep_a_budget(dtype) -> None:
    space = planar("C8")
    field = space.type(space.trivial_repr, space.irrep(1))
    V = vector(orthogonal_group(3))
    for scale in (1.0, *SUBNORMAL[dtype]):
        conv = torch.nn.Conv2d(3, 3, 3).to(dtype)
        matrix = es.SoftMatrixLinear(2 * V, V, softness=Budget(0.2)).to(dtype)
        with torch.no_grad():
            for parameter in (*conv.parameters(), *matrix.parameters()):
                parameter.copy_(torch.randn(parameter.shape).double() * scale)
        register_parametrization(
            conv, "weight", SoftFilter(graded_kernel(conv, field, field), Budget(0.2), conv.weight)
        )
        assert certificate(conv, field, field).relative.sup <= 0.2, scale
        found = matrix.certificate()
        assert found.sup <= 0.2 * found.norm * (1 + 1e-9), scale


def test_a_kernel_that_the_dtype_cannot_tell_is_0_and_can_be_trained() -> None:
    layer = build("C8", torch.float16)
    layer.softness = Budget(0.05)
    fill(layer, 1e-7, 1e-7)
    kernel = layer.expand_parameters()[0]
    assert kernel.abs().max() == 0
    kernel.sum().backward()
    assert layer.weights.grad.abs().max() > 0
    fill(layer, 0.1, 0.1)
    assert layer.expand_parameters()[0].abs().max() > 0.01


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_have_no_certificate(bad) -> None:
    """NaN compares as False, so that a check of ``sup > eta`` would pass."""
    layer, matrix = build("C8", torch.float32).train(), build("D3", torch.float32).train()
    layer.softness = matrix.softness = 1.0
    hard = es.harden(layer).train()
    space = planar("C8")
    field = space.type(*[space.trivial_repr] * 3)
    plain = torch.nn.Conv2d(3, 3, 3)
    filtered = es.soften(
        torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3)), 0.5, gspace=space, field_types={"0": (field, field)}
    )
    with torch.no_grad():
        for tensor in (layer.soft_weights, matrix.soft_weights, hard.weights, plain.weight):
            tensor.flatten()[0] = bad
        filtered[0].parametrizations.weight.original[0, 0, 0, 0] = bad
    for ask, what in [
        (layer.certificate, "kernel"), (matrix.certificate, "matrix"), (lambda: certificate(hard), "kernel"),
        (lambda: certificate(plain, field, field), "kernel"),
        (lambda: es.dials(filtered)["0"].certificate(), "kernel"),
    ]:  # fmt: skip
        with pytest.raises(es.errors.ArgumentError, match=rf"a {what} of finite numbers.* but got {what}='\d+ of"):
            ask()
    plain = torch.nn.Conv2d(3, 3, 3)
    with torch.no_grad():
        plain.bias[0] = bad
    with pytest.raises(es.errors.ArgumentError, match="a bias of finite numbers"):
        certificate(plain, field, field)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_budget_holds_where_all_that_escnn_has_goes_astray(dtype) -> None:
    """No kernel of these levels breaks nothing, and what escnn's rings leave by themselves is large."""
    space = gspaces.flipRot2dOnR2(5, axis=0.0)
    group = space.fibergroup
    fields = space.type(group.irrep(1, 2)), space.type(group.quotient_representation((None, 5)))
    torch.manual_seed(0)
    layer = SoftR2Conv(*fields, 6, dilation=3, bias=False, softness=Budget(0.167)).to(dtype)
    for strict, soft in ((5096.0, 12.0), (1.0, 1.0), (1.0, 0.0)):
        fill(layer, strict, soft)
        assert worst(layer) <= 0.167, (strict, soft)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_budget_holds_what_breaks_the_end_of_a_chain(dtype) -> None:
    """escnn's own kernels break C3 on pixels that are six apart, and a chain that ends in C3 has no level for it."""
    space = gspaces.flipRot2dOnR2(3, axis=0.0)
    group = space.fibergroup
    fields = space.type(space.regular_repr, group.irrep(1, 1)), space.type(group.irrep(1, 1))
    torch.manual_seed(0)
    layer = SoftR2Conv(*fields, 3, dilation=6, chain=[(None, 3)], softness=Budget(0.05)).to(dtype)
    fill(layer, 1.0, 1.0)
    assert layer.expand_parameters()[0].any()
    assert worst(layer) <= 0.05
    assert layer.certificate().sup <= layer.bound() * layer.certificate().norm
