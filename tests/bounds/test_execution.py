"""The layer as it runs: no input exceeds the bound, and the worst one comes close to it."""

import math

import pytest
import torch
from escnn import gspaces
from escnn.nn import R2Conv
from hypothesis import given, settings
from hypothesis import strategies as st

from escnn_soft import Exponential, SoftR2Conv, certificate
from escnn_soft.functions import act, pixel_elements
from escnn_soft.testing import (
    assert_certificate_holds,
    geometric_tensors,
    search_violation,
    soft_linears,
    soft_r2convs,
)
from escnn_soft.testing import gspaces as drawn_gspaces
from tests.cases import GRID_EXACT, field_types, planar

GEOMETRIES = {
    "plain": {},
    "padded": {"padding": 1},
    "strided": {"padding": 1, "stride": 2},
    "strided, not padded": {"stride": 2},
    "stride beyond the kernel": {"stride": 4},
    "dilated": {"padding": 2, "dilation": 2},
    "dilated and strided": {"padding": 2, "dilation": 2, "stride": 2},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "reflected": {"padding": 1, "padding_mode": "reflect"},
    "replicated": {"padding": 1, "padding_mode": "replicate"},
    "wide": {"padding": 4},
}


TENTH = settings(max_examples=max(10, settings.default.max_examples // 10))
"""For tests that search for the worst input in each example."""


@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_no_output_error_exceeds_the_bound(data, dtype) -> None:
    """Random groups that act on the grid, types, policies, weights, geometries, images and scales; rounding counted."""
    layer = data.draw(soft_r2convs(data.draw(drawn_gspaces(2, grid=True)), dtype=dtype))
    x = data.draw(geometric_tensors(layer.in_type, sides=range(9, 14), dtypes=[dtype]))
    certificate, eps, norms = layer.certificate(), torch.finfo(dtype).eps, sample_norms(x.tensor)
    with torch.no_grad():
        still = layer(x)
        # both actions mix the channels of a field, and adding the bias rounds
        rounding = 2 * certificate.rounding * norms + 2 * (layer.in_type.size + layer.out_type.size + 4) * eps * (
            certificate.lipschitz * norms + sample_norms(still.tensor)
        )
        for element in pixel_elements(layer.space):
            if certificate.refusal(element, x.tensor.shape) is None:
                error = sample_norms(layer(act(element, x)).tensor.double() - act(element, still).tensor.double())
                bias = 0.0 if certificate.bias is None else certificate.bias.at(element)
                bound = certificate.operator_at(element) * norms + bias * math.sqrt(still.tensor[0, 0].numel())
                assert (error <= bound + rounding).all()


def sample_norms(x: torch.Tensor) -> torch.Tensor:
    return x.double().flatten(1).norm(dim=1)


@TENTH
@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_no_convolution_exceeds_its_certificate(data, dtype) -> None:
    space = data.draw(drawn_gspaces(2, grid=True))
    layer = data.draw(soft_r2convs(space, dtype=dtype))
    report = assert_certificate_holds(layer)
    assert report.level == "grid"
    assert report.checked or report.not_covered


@TENTH
@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_no_matrix_exceeds_its_certificate(data, dtype) -> None:
    assert assert_certificate_holds(data.draw(soft_linears(dtype=dtype))).checked


def layer_with(name: str, geometry: dict) -> SoftR2Conv:
    torch.manual_seed(0)
    in_type, out_type = field_types(planar(name))[2]
    layer = SoftR2Conv(in_type, out_type, 3, bias=False, softness=Exponential(0.8), **geometry).double()
    torch.nn.init.normal_(layer.soft_weights)
    return layer.eval()


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("name", [name for name in GRID_EXACT if name != "C1"])
def test_the_worst_input_reaches_half_of_the_bound(name, geometry) -> None:
    layer = layer_with(name, GEOMETRIES[geometry])
    certificate, x = layer.certificate(), torch.zeros(1, layer.in_type.size, 23, 23, dtype=torch.float64)
    elements = pixel_elements(layer.space)[1:]
    found = search_violation(layer, certificate, x, elements=elements, steps=8, restarts=1)
    assert not found.violated
    operators = [certificate.operator_at(element) for element in elements]
    assert max(operators) == pytest.approx(certificate.operator, rel=1e-9)
    assert certificate.operator <= certificate.operator_by_unfoldings * (1 + 1e-9)
    # padding that repeats the border could double the error, and hardly ever does
    assert found.tightness >= (0.4 if geometry in ("reflected", "replicated") else 0.5)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_lipschitz_constants_hold_and_are_close(geometry) -> None:
    layer = layer_with("C4", GEOMETRIES[geometry])
    x = torch.zeros(1, layer.in_type.size, 21, 21, dtype=torch.float64)
    found = search_violation(layer, layer.certificate(), x, elements=[layer.in_type.fibergroup.identity], restarts=1)
    assert 0.5 <= found.lipschitz_tightness <= 1.0


def test_an_off_centre_stride_is_refused_and_would_break_the_bound() -> None:
    layer = layer_with("C4", {"padding": 1, "stride": 2})
    certificate, element = layer.certificate(), planar("C4").fibergroup.element(1)
    assert certificate.refusal(element, (1, layer.in_type.size, 9, 9)) is None
    reason = certificate.refusal(element, (1, layer.in_type.size, 8, 8))
    assert "stride 2 is off-centre on size 8: (8 + 2 * 1 - 3) % 2 = 1" in reason
    layer.softness = 0.0  # exactly equivariant weights
    x = layer.in_type(torch.randn(1, layer.in_type.size, 8, 8, dtype=torch.float64))
    error = (layer(act(element, x)).tensor - act(element, layer(x)).tensor).norm()
    assert error > 0.1 * x.tensor.norm() > 1e6 * layer.certificate().operator * x.tensor.norm()


def test_unequal_padding_and_strides_are_refused_under_quarter_turns_only() -> None:
    for geometry, word in (({"padding": (1, 0)}, "padding"), ({"stride": (2, 1)}, "stride")):
        certificate = layer_with("C4", geometry).certificate()
        quarter, half = (planar("C4").fibergroup.element(k) for k in (1, 2))
        assert f"{word} {geometry[word]} differs between the axes" in certificate.refusal(quarter, (1, 12, 9, 9))
        assert certificate.refusal(half, (1, 12, 9, 9)) is None
        assert certificate.operator >= certificate.operator_at(half)


def test_a_flip_asks_for_the_flipped_axis_only() -> None:
    certificate = layer_with("flip vertical", {"stride": 2, "padding": 1}).certificate()
    mirror = planar("flip vertical").fibergroup.element(1)  # left and right
    assert certificate.refusal(mirror, (1, 6, 8, 9)) is None
    assert "size 8" in certificate.refusal(mirror, (1, 6, 9, 8))


def test_elements_off_the_grid_are_refused() -> None:
    space = planar("C8")
    layer = SoftR2Conv(*field_types(space)[1], 3)
    assert "moves pixels off the grid" in layer.certificate().refusal(space.fibergroup.element(1), (1, 8, 9, 9))


def test_escnns_and_torchs_layers_have_certificates() -> None:
    space = gspaces.rot2dOnR2(4)
    image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr)
    hard = R2Conv(image, hidden, 5, recompute=True)
    assert certificate(hard).relative.sup < 1e-6
    report = assert_certificate_holds(hard.eval())
    assert report.level == "grid"
    for conv in (
        torch.nn.Conv2d(1, 4, 3, padding="same"),
        torch.nn.Conv2d(1, 4, 3, dilation=3),
        torch.nn.Conv2d(1, 4, 4, stride=2, padding_mode="reflect"),
    ):
        conv = conv.double()
        report = assert_certificate_holds(conv, in_type=image, out_type=hidden)
        assert certificate(conv, image, hidden).relative.sup > 0.1
        assert report.tightness > 0.1


def test_large_convolutions_have_a_coarser_bound() -> None:
    space = planar("C2")
    field = space.type(*[space.regular_repr] * 70)
    conv = torch.nn.Conv2d(140, 140, 3, padding=1, bias=False).double()
    fine, coarse = (
        torch.linalg.matrix_norm(conv.weight.sum((2, 3)).detach(), 2),
        certificate(conv, field, field).lipschitz,
    )
    assert fine <= coarse
    x = torch.randn(1, 140, 16, 16, dtype=torch.float64)
    for _ in range(40):
        x = (x / x.norm()).requires_grad_(True)
        (x,) = torch.autograd.grad(conv(x).square().sum(), x)
    found = float((conv(x).norm() / x.norm()).detach())
    assert found <= coarse <= 1.6 * found


@pytest.mark.parametrize(("dtype", "fields"), [(torch.bfloat16, 7), (torch.bfloat16, 12), (torch.float16, 64)])
def test_rounding_is_bounded_where_more_products_are_summed_than_the_dtype_can_count(dtype, fields) -> None:
    """n u reaches 1 at 256 products in bfloat16 and at 2048 in float16."""
    space = gspaces.rot2dOnR2(4)
    wide = space.type(*[space.regular_repr] * fields)
    layer = SoftR2Conv(wide, space.type(space.regular_repr), 3, softness=0.3, bias=False).to(dtype)
    x = torch.rand(2, wide.size, 5, 5).to(dtype)
    with torch.no_grad():
        stored = layer.expand_parameters()[0].double()
        error = sample_norms(layer(wide(x)).tensor.double() - torch.nn.functional.conv2d(x.double(), stored))
    certificate, norms = layer.certificate(), sample_norms(x)
    products = 36 * fields + 1
    assert certificate.rounding >= products * torch.finfo(dtype).eps / 2 * certificate.lipschitz
    assert (error <= certificate.rounding * norms).all()
