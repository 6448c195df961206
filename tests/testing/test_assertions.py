"""The assertions pass what is right and fail, helpfully, what is broken on purpose."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
import torch
from escnn import group, gspaces, nn
from hypothesis import given, settings

from escnn_soft import SoftLinear, SoftR2Conv
from escnn_soft.dial import Policy
from escnn_soft.errors import ArgumentError, FieldTypeError, GridActionError, ShapeError
from escnn_soft.testing import (
    assert_certificate_holds,
    assert_equivariant,
    assert_error_within,
    networks,
    randomize,
    soft_linears,
    soft_r2convs,
)

FEWER = settings(max_examples=settings.default.max_examples // 2)  # of whatever the profile says
FEWEST = settings(max_examples=settings.default.max_examples // 3)

SPACE = gspaces.rot2dOnR2(4)
IMAGE, HIDDEN = SPACE.type(SPACE.trivial_repr), SPACE.type(SPACE.regular_repr)
VECTORS = SPACE.type(SPACE.irrep(1))
POINT = gspaces.no_base_space(group.dihedral_group(3))


def conv(softness=0.0, in_type=HIDDEN, **geometry) -> SoftR2Conv:
    layer = SoftR2Conv(in_type, HIDDEN, **{"kernel_size": 3, "padding": 1, "softness": softness, **geometry})
    randomize(layer)
    return layer.double()


# ---------------------------------------------------------------------- broken on purpose


class Transposed(torch.nn.Module):
    """Acts by rho(g)^T where rho(g) is meant: reads rotation order from the wrong end."""

    in_type, out_type = IMAGE, HIDDEN

    def __init__(self) -> None:
        super().__init__()
        self.right = conv(in_type=IMAGE)

    def forward(self, x):
        return nn.GeometricTensor(self.right(x).tensor[:, [0, 3, 2, 1]], HIDDEN)


class WrongBias(torch.nn.Module):
    in_type, out_type = HIDDEN, HIDDEN

    def __init__(self) -> None:
        super().__init__()
        self.right = conv(padding=0)

    def forward(self, x):
        bias = torch.tensor([0.0, 0.3, 0.0, 0.0]).double().view(1, 4, 1, 1)
        return nn.GeometricTensor(self.right(x).tensor + bias, HIDDEN)


@dataclasses.dataclass(frozen=True)
class WrongGain(Policy):
    """One level of a strict layer has a gain that is not 0."""

    def gains(self, dial):
        gains = (dial == 0).to(dial)
        gains[1] = 0.01
        return gains


class PaddedOnOneSide(torch.nn.Module):
    in_type = out_type = HIDDEN

    def __init__(self) -> None:
        super().__init__()
        self.right = conv(padding=0)

    def forward(self, x):
        padded = torch.nn.functional.pad(x.tensor, (1, 1, 2, 1))[:, :, 1:]
        padded[:, :, 0] = 1.0
        return self.right(nn.GeometricTensor(padded, HIDDEN))


BROKEN = {
    "wrong gain": (lambda: conv(WrongGain()), "break the symmetry: the layer"),
    "transposed": (Transposed, r"field 0, regular"),
    "bias": (WrongBias, "the same at every pixel.*a bias that is not invariant"),
    "padding": (PaddedOnOneSide, "the error sits on the border"),
    "even kernel": (lambda: conv(kernel_size=4, stride=2, padding=1), "every stride keeps the centre"),
    "unequal stride": (lambda: conv(stride=(1, 2)), "the same stride and padding on both axes"),
    "soft": (lambda: conv(softness=0.5), r"SoftR2Conv, softness=0.5\).*Set softness to 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_modules_fail_with_a_remedy(name) -> None:
    make, message = BROKEN[name]
    with pytest.raises(AssertionError, match=rf"(?s)is not equivariant under .*{message}"):
        assert_equivariant(make())


def test_the_message_names_element_error_place_and_layer() -> None:
    network = nn.SequentialModule(
        conv(in_type=IMAGE), nn.ReLU(HIDDEN), nn.PointwiseMaxPool2D(HIDDEN, 2, 2), conv()
    ).double()
    x = torch.randn(2, 1, 9, 9, dtype=torch.float64)
    with pytest.raises(AssertionError) as failure:
        assert_equivariant(network, x)
    message = str(failure.value)
    assert "SequentialModule is not equivariant under 1[2pi/4] of C4" in message
    assert "relative error" in message
    assert "> rtol=1e-06" in message
    assert "Largest deviation: channel" in message
    assert "component" in message
    assert "First layer that is not equivariant by itself: 2 (PointwiseMaxPool2D)" in message
    assert "on (9, 9) pixels" in message
    assert_equivariant(network, torch.randn(2, 1, 8, 8, dtype=torch.float64))  # there the pooling is centred


# ---------------------------------------------------------------------- right ones pass


def test_right_modules_pass_and_the_largest_error_is_returned() -> None:
    assert assert_equivariant(conv()) < 1e-12
    assert assert_equivariant(conv(stride=2)) < 1e-12
    assert assert_equivariant(nn.R2Conv(IMAGE, VECTORS, 5)) < 1e-5
    assert assert_equivariant(nn.NormNonLinearity(VECTORS, bias=False)) < 1e-5


@FEWER
@given(networks=networks(softness=None))
def test_strict_networks_are_equivariant(networks) -> None:
    for part in networks.modules():
        if isinstance(part, SoftR2Conv):
            part.softness = 0.0
    assert assert_equivariant(networks) < 1e-6


@pytest.mark.parametrize("name", ["so2", "o2", "so3", "o3", "ico", "cylinder"])
def test_every_group_without_a_base_space(name) -> None:
    g = getattr(group, f"{name}_group")(*([] if name == "ico" else [2]))
    space = gspaces.no_base_space(g)
    psi = list(g.irreps())[1]
    strict = SoftLinear(space.type(psi, g.trivial_representation), space.type(psi))
    assert assert_equivariant(strict) < 1e-5
    strict.softness = 1.0
    randomize(strict)
    with pytest.raises(AssertionError, match="are soft and their weights break the symmetry"):
        assert_equivariant(strict)


def test_outputs_that_cancel_are_compared_with_rounding() -> None:
    """A 1 x 1 kernel without bias maps equal components to rounding errors only."""
    layer = SoftR2Conv(HIDDEN, VECTORS, 1, bias=False).double()
    x = torch.ones(1, 4, 5, 7, dtype=torch.float64) / 3
    assert assert_equivariant(layer, x) == 0.0
    assert assert_equivariant(layer, x, atol=1e-12) == 0.0


def test_classes_and_plain_modules_need_types() -> None:
    pooled = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    scores = SPACE.type(*[SPACE.trivial_repr] * 3)
    assert assert_equivariant(pooled, in_type=IMAGE, out_type=scores) < 1e-5
    with pytest.raises(ArgumentError, match="class scores are a type of trivial fields"):
        assert_equivariant(pooled, in_type=IMAGE)
    with pytest.raises(FieldTypeError, match="Restrict the input"):
        assert_equivariant(torch.nn.Identity(), in_type=IMAGE, out_type=POINT.type(POINT.trivial_repr))


def test_modes_and_statistics_are_left_alone() -> None:
    network = nn.SequentialModule(conv(in_type=IMAGE), nn.InnerBatchNorm(HIDDEN), nn.ReLU(HIDDEN)).double()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert_equivariant(network)
    assert [part.training for part in (network, network[0], network[1], network[2])] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_elements_off_the_grid_and_wrong_inputs_are_refused() -> None:
    space = gspaces.rot2dOnR2(8)
    field = space.type(space.trivial_repr)
    with pytest.raises(GridActionError):
        assert_equivariant(torch.nn.Identity(), None, space.fibergroup.elements, in_type=field, out_type=field)
    with pytest.raises(ShapeError, match=r"\(batch, 4, ...\)"):
        assert_equivariant(conv(), torch.zeros(1, 3, 9, 9))


def test_not_a_number_fails() -> None:
    layer = conv()
    with torch.no_grad():
        layer.weights.fill_(torch.nan)
    with pytest.raises(AssertionError, match="look for overflow"):
        assert_equivariant(layer)


# ---------------------------------------------------------------------- bounds


def test_error_within_takes_batch_and_sample_bounds() -> None:
    layer, x = conv(softness=0.5), torch.randn(3, 4, 9, 9, dtype=torch.float64)
    bound = layer.certificate().operator
    biased = layer.certificate().bias.sup * 9
    samples = bound * x.flatten(1).norm(dim=1) + biased
    assert 0.0 < assert_error_within(layer, x, samples) <= 1.0
    assert 0.0 < assert_error_within(layer, x, float(samples.max())) <= 1.0
    assert assert_error_within(layer, x, float("inf")) == 0.0
    with pytest.raises(AssertionError, match=r"(?s)exceeds its bound.*on sample \d.*the bound is absolute"):
        assert_error_within(layer, x, samples / 100)
    with pytest.raises(AssertionError, match="on sample"):
        assert_error_within(layer, x, 0.01)


def test_error_within_refuses_what_is_no_bound() -> None:
    x = torch.randn(3, 4, 9, 9, dtype=torch.float64)
    with pytest.raises(ArgumentError, match="bound"):
        assert_error_within(conv(), x, -1.0)
    with pytest.raises(ArgumentError, match="bound"):
        assert_error_within(conv(), x, float("nan"))
    with pytest.raises(ShapeError, match=r"bound.shape"):
        assert_error_within(conv(), x, torch.ones(2))
    assert assert_error_within(conv(), x, 0.0) == 0.0  # rounding does not count


class Overflowing(torch.nn.Conv2d):
    def forward(self, x):
        return super().forward(x).double() * 1e200


class Wiping(torch.nn.Conv2d):
    """Writes zeros into its input, so that a second look sees nothing."""

    def forward(self, x):
        y = super().forward(x)
        x.zero_()
        return y


class Offset(torch.nn.Conv2d):
    """Its error is small against the input, not against the output."""

    def forward(self, x):
        return super().forward(x) * 1e-6


@pytest.mark.parametrize("kind", [Overflowing, Wiping, Offset])
def test_layers_that_hide_their_error_are_found(kind) -> None:
    layer = kind(1, 4, 3, bias=False)
    with pytest.raises(AssertionError, match="is not equivariant"):
        assert_equivariant(layer, in_type=IMAGE, out_type=HIDDEN)
    with pytest.raises(AssertionError, match="exceeds its bound"):
        assert_error_within(layer, torch.randn(1, 1, 9, 9), 0.0, in_type=IMAGE, out_type=HIDDEN)


def test_no_elements_is_no_check() -> None:
    with pytest.raises(ArgumentError, match="at least one element"):
        assert_equivariant(conv(), elements=[])


# ---------------------------------------------------------------------- certificates


@given(layer=soft_linears())
def test_certificates_of_linear_layers(layer) -> None:
    report = assert_certificate_holds(layer)
    assert report.level == "grid"
    assert not report.not_covered


@FEWEST
@given(layer=soft_r2convs(max_kernel_size=4))
def test_certificates_of_convolutions(layer) -> None:
    assert_certificate_holds(layer)


@FEWEST
@given(layer=soft_r2convs(max_kernel_size=3, dtype=torch.float32))
def test_certificates_in_single_precision(layer) -> None:
    assert_certificate_holds(layer)


def test_certificates_of_plain_and_escnn_layers() -> None:
    plain = torch.nn.Conv2d(1, 4, 3, padding=1, dtype=torch.float64)
    report = assert_certificate_holds(plain, in_type=IMAGE, out_type=HIDDEN)
    assert report.checked
    assert 0.8 < report.tightness <= 1.0
    assert assert_certificate_holds(nn.R2Conv(IMAGE, HIDDEN, 3)).tightness < 1e-2
    dense = torch.nn.Linear(6, 6, dtype=torch.float64)
    field = POINT.type(POINT.regular_repr)
    assert assert_certificate_holds(dense, in_type=field, out_type=field).tightness > 0.5


def test_given_inputs_and_what_is_not_covered() -> None:
    layer = conv(softness=0.5, stride=2)
    report = assert_certificate_holds(layer, torch.randn(1, 4, 8, 8, dtype=torch.float64))
    assert "off-centre" in report.not_covered[0]
    assert [str(element) for element, _ in report.checked] == ["0[2pi/4]"]


@cache
def honest():
    return conv(softness=0.5).certificate()


def forged(change):
    """The certificate of a layer with other weights, or with single values exchanged."""
    return change(honest())


def with_terms(certificate, factor):
    terms = [
        dataclasses.replace(t, gram=tuple(tuple(factor * x for x in row) for row in t.gram)) for t in certificate.terms
    ]
    return dataclasses.replace(certificate, terms=tuple(terms))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: dataclasses.replace(c, scale=0.5), r"weights: norm = \|\|W\|\|"),
        (lambda c: with_terms(c, 0.9), r"weights: at\(1\[2pi/4\]\) = "),
        (lambda c: dataclasses.replace(c, bias=dataclasses.replace(c.bias, scale=2.0)), "bias: norm"),
        (lambda c: _with_cached(c, rms=c.sup * 1.01), "weights: rms <= sup"),
        (lambda c: _with_cached(c, sup=c.at(SPACE.fibergroup.element(2)) * 0.9), "weights: "),
        (lambda c: _with_cached(c, lipschitz=c.lipschitz * 0.5), r"execution: \|\|f\(x\) - f\(y\)\|\| <= lipschitz"),
        (lambda c: _with_cached(c, operator=c.operator * 0.5), "<= operator"),
        (lambda c: _with_cached(c, rounding=1e9), "rounding is of the order of eps"),
        (lambda c: dataclasses.replace(c, execution=_Refusing(c)), "covers no element"),
        (lambda c: dataclasses.replace(c, symmetry=_Rigid(c)), r"at\(1\[2pi/4\]\) <= within"),
    ],
)
def test_forged_certificates_are_refused(change, message) -> None:
    with pytest.raises(AssertionError, match=rf"(?s)The certificate is wrong about .*{message}.*Remedy: "):
        assert_certificate_holds(conv(softness=0.5), certificate=forged(change))


def test_an_error_above_its_bound_is_found() -> None:
    layer = conv(softness=0.5)
    certificate = layer.certificate()
    weak = conv(softness=0.2).certificate()
    with pytest.raises(AssertionError, match=r"execution: \|\|f\(g x\) - g f\(x\)\|\| <= operator_at"):
        assert_certificate_holds(
            layer, certificate=dataclasses.replace(certificate, execution=_Weaker(certificate, weak))
        )


class _Rigid:
    """A group whose rotations move nothing, to first order."""

    def __init__(self, certificate) -> None:
        self._own = certificate.symmetry

    def __getattr__(self, name):
        return getattr(self._own, name)

    def rate(self, irrep):
        return 0.0


class _Refusing:
    """An execution that covers nothing."""

    def __init__(self, certificate) -> None:
        self._own = certificate.execution

    def __getattr__(self, name):
        return getattr(self._own, name)

    def refusal(self, element, input_shape):
        return "no"


class _Weaker:
    """Everything of one execution but the error norms of a weaker one."""

    def __init__(self, certificate, weak) -> None:
        self._own, self._weak = certificate.execution, weak.execution

    def __getattr__(self, name):
        return getattr(self._own, name)

    def error_norm(self, element):
        return self._weak.error_norm(element)


def _with_cached(certificate, **values):
    """cached_property keeps its value in the instance's dictionary."""
    twin = dataclasses.replace(certificate)
    twin.__dict__.update(values)
    return twin


@pytest.mark.parametrize(("make", "what"), [(Transposed, "weights: at")])
def test_a_certificate_of_other_weights_is_refused(make, what) -> None:
    """The layer runs with its channels permuted, the certificate is that of the layer inside."""
    broken = make()
    certificate = broken.right.certificate()
    for name in ("kernel_size", "stride", "padding", "dilation"):
        setattr(broken, name, getattr(broken.right, name))
    with pytest.raises(AssertionError, match=what):
        assert_certificate_holds(broken, certificate=certificate)
