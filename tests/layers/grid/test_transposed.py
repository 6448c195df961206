"""Transposed convolutions conform, agree with escnn in every geometry, and cover what their geometry respects."""

import pytest
import torch
from escnn import nn

from escnn_soft import SoftR2Conv, SoftR2ConvTransposed, certificate
from escnn_soft.testing.certificates import assert_certificate_holds
from escnn_soft.testing.conformance import ConformanceSuite
from tests.cases import planar
from tests.certification.checks import check
from tests.disturbance import disturb

FIELD = planar("D4").type(*[planar("D4").irrep(1, 1), planar("D4").trivial_repr] * 2)
IMAGE = torch.randn(2, FIELD.size, 6, 5)

GEOMETRIES = [
    {},
    {"stride": 2},
    {"stride": 2, "output_padding": 1},
    {"dilation": 2, "padding": 2},
    {"groups": 2, "stride": 2},
    {"bias": False},
    {"padding": 2, "stride": 3, "output_padding": 1},
    {"kernel_size": 4, "stride": 2},
    {"kernel_size": 5, "rings": [0.0, 2.0], "sigma": [0.01, 0.5]},
]


class TestSoftR2ConvTransposed(ConformanceSuite):
    def make(self, softness):
        s = planar("C4")
        fields = s.type(s.irrep(1), s.trivial_repr), s.type(s.irrep(1))
        return SoftR2ConvTransposed(*fields, 3, padding=1, stride=2, softness=softness)

    def hard(self, layer):
        hard = nn.R2ConvTransposed(layer.in_type, layer.out_type, 3, padding=1, stride=2)
        hard.load_state_dict(layer.state_dict(), strict=False)
        return hard


class TestGroupedSoftR2ConvTransposed(ConformanceSuite):
    def make(self, softness):
        s = planar("D2")
        fields = s.type(*[s.irrep(1, 1)] * 2)
        return SoftR2ConvTransposed(fields, fields, 3, stride=2, groups=2, bias=False, softness=softness)


class TestSoftR2ConvTransposedOfAGroupThatLeavesTheGrid(TestSoftR2ConvTransposed):
    def make(self, softness):
        s = planar("C3")
        fields = s.type(s.irrep(1), s.trivial_repr), s.type(s.irrep(1))
        return SoftR2ConvTransposed(*fields, 3, padding=1, stride=2, softness=softness)


def soft_layer(**arguments) -> SoftR2ConvTransposed:
    layer = SoftR2ConvTransposed(FIELD, FIELD, **{"kernel_size": 3, "padding": 1, "softness": 0.5, **arguments})
    disturb(layer, 1.0)
    return layer


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: "-".join(g) or "plain")
def test_geometry_agrees_with_escnn_export_and_shape(geometry) -> None:
    hard = nn.R2ConvTransposed(FIELD, FIELD, **{"kernel_size": 3, "padding": 1, **geometry})
    soft = soft_layer(**geometry, softness=0.0)
    soft.load_state_dict(hard.state_dict())
    x = FIELD(IMAGE)
    assert (soft(x).tensor - hard(x).tensor).abs().max() < 1e-6
    disturb(soft, 1.0)
    soft.softness = 0.7
    trained = soft(x).tensor
    assert (trained - hard(x).tensor).abs().max() > 1e-3
    assert tuple(trained.shape) == soft.evaluate_output_shape(tuple(IMAGE.shape))
    assert (soft.export()(IMAGE) - trained).abs().max() < 1e-5


@pytest.mark.parametrize("geometry", GEOMETRIES[:8], ids=lambda g: "-".join(g) or "plain")
def test_conversions_keep_the_function(geometry) -> None:
    plain = torch.nn.ConvTranspose2d(FIELD.size, FIELD.size, **{"kernel_size": 3, "padding": 1, **geometry})
    soft = SoftR2ConvTransposed.from_dense(plain, FIELD, FIELD)
    assert (soft(FIELD(IMAGE)).tensor - plain(IMAGE)).abs().max() < 1e-5
    assert (soft.export()(IMAGE) - plain(IMAGE)).abs().max() < 1e-5
    hard = nn.R2ConvTransposed(FIELD, FIELD, **{"kernel_size": 3, "padding": 1, **geometry}).eval()
    soft = SoftR2ConvTransposed.from_hard(hard, softness=0.5)
    assert soft.weights is hard.weights
    assert not soft.training
    assert (soft(FIELD(IMAGE)).tensor - hard(FIELD(IMAGE)).tensor).abs().max() < 1e-6


def test_initialisation_is_escnns_number_for_number() -> None:
    torch.manual_seed(7)
    hard = nn.R2ConvTransposed(FIELD, FIELD, 5)
    torch.manual_seed(7)
    assert torch.equal(hard.weights, SoftR2ConvTransposed(FIELD, FIELD, 5).weights)


# ---------------------------------------------------------------------- the certificate


def test_every_stride_is_covered_on_every_size() -> None:
    certified = soft_layer(stride=3).certificate()
    for element in FIELD.fibergroup.elements:
        assert all(certified.refusal(element, (1, FIELD.size, h, w)) is None for h in (4, 5) for w in (4, 6))


def test_output_padding_and_unequal_strides_leave_elements_out() -> None:
    identity, turn, half = (FIELD.fibergroup.element((0, k)) for k in range(3))
    shape = (1, FIELD.size, 5, 5)
    padded = soft_layer(stride=2, output_padding=(1, 0)).certificate()
    assert padded.refusal(identity, shape) is None
    assert "one side of the output" in padded.refusal(half, shape)
    assert "output_padding (1, 0) differs" in padded.refusal(turn, shape)
    assert any("output_padding (1, 0) is 0" in words for words in padded.assumptions)
    oblong = soft_layer(stride=(2, 1)).certificate()
    assert oblong.refusal(half, shape) is None
    assert "stride (2, 1) differs between the axes" in oblong.refusal(turn, shape)


@pytest.mark.parametrize(
    "geometry", [{"stride": 2, "output_padding": (0, 1)}, {"stride": (1, 2)}, {"groups": 2, "dilation": 2}], ids=str
)
def test_certificates_hold(geometry) -> None:
    layer = soft_layer(**geometry).double()
    report = assert_certificate_holds(layer)
    assert report.tightness > 0.5
    plain = assert_certificate_holds(layer.export(), in_type=FIELD, out_type=FIELD)
    assert plain.checked == report.checked
    assert certificate(layer.export(), FIELD, FIELD).sup == pytest.approx(layer.certificate().sup)


def test_the_certificate_of_escnns_own_layer_is_rounding() -> None:
    hard = nn.R2ConvTransposed(FIELD, FIELD, 3, stride=2)
    assert certificate(hard).relative.sup < 1e-6


@pytest.mark.parametrize("geometry", [{}, {"stride": 2, "output_padding": 1}], ids=str)
@pytest.mark.parametrize("name", ["C4", "C8"])
def test_check_equivariance_passes_strict_layers_and_fails_soft_ones(name, geometry) -> None:
    field = planar(name).type(planar(name).regular_repr)
    layer = SoftR2ConvTransposed(field, field, **{"kernel_size": 3, "padding": 1, **geometry})
    if not geometry:  # strides leave gaps between the pixels of the output, which rotate by quarter turns only
        assert all(error < 0.1 for _, error in layer.check_equivariance())
    layer.softness = 1.0
    disturb(layer, 1.0)
    with pytest.raises(AssertionError, match="the error is up to"):
        layer.check_equivariance()


@pytest.mark.parametrize("softness", [0.0, 0.5])
def test_networks_with_transposed_layers_are_certified(softness) -> None:
    field = planar("C4").type(*[planar("C4").regular_repr] * 2)
    first, second = SoftR2Conv(field, field, 3, padding=1, stride=2), soft_between(field, softness)
    model = nn.SequentialModule(first, nn.ReLU(field), second).eval()
    cert = check(model, field(torch.randn(2, 8, 9, 9)))
    assert 0 < cert.bound < float("inf")


def soft_between(field, softness) -> SoftR2ConvTransposed:
    layer = SoftR2ConvTransposed(field, field, 3, padding=1, stride=2, softness=softness)
    disturb(layer, 1.0)
    return layer
