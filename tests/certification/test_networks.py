"""The bound of whole networks, on random networks, types and inputs."""

from __future__ import annotations

import json

import pytest
import torch
from escnn import gspaces, nn
from escnn.nn import GeometricTensor
from hypothesis import given
from hypothesis import strategies as st

from escnn_soft import SoftLinear, SoftR2Conv
from escnn_soft.certification import certify
from escnn_soft.errors import ArgumentError
from escnn_soft.functions import act
from tests.cases import planar, point, regular
from tests.certification.checks import check, measured, random_field, shake, violations

SPACES = ["C1", "C2", "C4", "D2", "D4", "C8", "SO(2)", "O(2)", "flip vertical"]


def convolutions(space, data, layers, softness=0.4):
    """A random stack of soft convolutions, batch norms, non-linearities and poolings on odd images."""
    g = space.fibergroup
    image = space.type(space.trivial_repr)
    kinds = ["regular"] if not g.continuous else ["trivial"]
    modules, current = [], image
    for _ in range(layers):
        kind = data.draw(st.sampled_from([*kinds, "trivial"]))
        rho = g.regular_representation if kind == "regular" else space.trivial_repr
        following = space.type(*[rho] * data.draw(st.integers(1, 2)))
        size = data.draw(st.sampled_from([1, 3, 5]))
        conv = SoftR2Conv if data.draw(st.booleans()) else nn.R2Conv
        extra = {"softness": softness} if conv is SoftR2Conv else {}
        bias = data.draw(st.booleans())
        modules.append(conv(current, following, size, padding=size // 2, bias=bias, **extra))
        tail = data.draw(st.sampled_from(["", "norm", "relu", "norm relu", "norm relu pool", "max"]))
        modules += [nn.InnerBatchNorm(following)] if "norm" in tail else []
        modules += [nn.ReLU(following, inplace=data.draw(st.booleans()))] if "relu" in tail else []
        modules += [nn.PointwiseAvgPool2D(following, 3, 2, 1)] if "pool" in tail else []
        modules += [nn.PointwiseMaxPool2D(following, 3, 1, 1)] if "max" in tail else []
        current = following
    return nn.SequentialModule(*modules)


@given(
    st.data(), st.sampled_from(SPACES), st.integers(1, 3), st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([None, 0, 1, 2]),
)  # fmt: skip
def test_planar_networks(data, name, layers, dtype, lookahead):
    space = planar(name)
    model = convolutions(space, data, layers).to(dtype)
    shake(model)
    x = random_field(
        model.in_type,
        2,
        *data.draw(st.sampled_from([(9, 9), (9, 17)])),
        dtype=dtype,
        scale=data.draw(st.sampled_from([1e-3, 1.0, 1e3])),
    )
    check(model, x, lookahead=lookahead)


@given(st.data(), st.sampled_from(["C3", "C4", "D3", "SO(2)", "O(2)", "octahedral", "SO(3)"]), st.booleans())
def test_networks_on_vectors(data, name, every):
    space = point(name)
    g = space.fibergroup
    field = space.type(*[regular(g)] * 2)
    model = nn.SequentialModule(
        SoftLinear(field, field, softness=0.5), nn.NormNonLinearity(field), SoftLinear(field, field)
    )
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    model = model.to(dtype)
    shake(model)
    x = random_field(field, 3, dtype=dtype)
    if every and g.continuous:
        cert = certify(model, x)
        assert cert.covered == ("every element",)
        for element in g.testing_elements():
            assert measured(model, x, element).max() <= cert.bound
            assert cert.at(element) == cert.bound
    else:
        check(model, x, elements=list(g.testing_elements())[:6])


class Residual(torch.nn.Module):
    """A residual sum, a scaled branch, an invariant map and a plain head."""

    def __init__(self, space, softness):
        super().__init__()
        image, hidden = space.type(space.trivial_repr), space.type(*[space.regular_repr] * 2)
        self.in_type = image
        self.first = SoftR2Conv(image, hidden, 3, padding=1, softness=softness)
        self.branch = nn.SequentialModule(nn.ReLU(hidden), SoftR2Conv(hidden, hidden, 3, padding=1, softness=softness))
        self.pool = nn.GroupPooling(hidden)
        self.head = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8), torch.nn.GELU(), torch.nn.LayerNorm(8),
            torch.nn.Dropout(), torch.nn.Linear(8, 3), torch.nn.Softmax(dim=1),
        )  # fmt: skip

    def forward(self, x):
        x = self.first(x)
        x = x + self.branch(x) * 0.5
        pooled = self.pool(x).tensor.mean(dim=(2, 3), keepdim=True)
        return self.head(pooled)


@given(st.sampled_from(["C4", "D4", "C2"]), st.sampled_from([None, 0, 1]))
def test_residual_sums_and_a_plain_head(name, lookahead):
    model = Residual(planar(name), 0.5)
    shake(model)
    cert = check(model, random_field(model.in_type, 2, 7, 7), lookahead=lookahead)
    assert cert.output == "invariant"
    assert {"first", "branch.1"} <= {t.layer for t in cert.terms if t.contribution > 0}


def test_the_bound_is_close_to_what_is_measured():
    space = planar("C4")
    image, hidden = space.type(space.trivial_repr), space.type(*[space.regular_repr] * 4)
    model = nn.SequentialModule(
        SoftR2Conv(image, hidden, 5, bias=False, softness=0.5), nn.InnerBatchNorm(hidden), nn.ReLU(hidden),
        nn.PointwiseAvgPool2D(hidden, 3, 2, 1),
        SoftR2Conv(hidden, hidden, 5, bias=False, softness=0.5), nn.InnerBatchNorm(hidden), nn.ReLU(hidden),
        nn.PointwiseAvgPool2D(hidden, 3, 2, 1),
        SoftR2Conv(hidden, hidden, 5, bias=False, softness=0.5),
    )  # fmt: skip
    shake(model)
    x = random_field(image, 8, 29, 29)
    cert = check(model, x)
    ratios = torch.cat(
        [
            torch.tensor(bounds) / measured(model, x, g)
            for g, bounds in zip(cert.covered[1:], cert.samples[1:], strict=True)
        ]
    )
    assert ratios.median() < 20
    plain = certify(model, x, lookahead=None)
    assert cert.bound < plain.bound


@pytest.mark.parametrize("lookahead", [None, 0, 1, 3])
def test_constants_from_the_activations_hold_along_the_way(lookahead):
    """Gates, vectors and normalisation use the norms of the activations, and stand between soft layers here."""
    space = planar("D4")
    fields = space.type(*[space.trivial_repr] * 2, *[space.irrep(1, 1)] * 2)
    gated = nn.GatedNonLinearity1(fields)
    vectors = gated.out_type
    model = nn.SequentialModule(
        SoftR2Conv(fields, fields, 3, padding=1, softness=0.3), gated,
        SoftR2Conv(vectors, vectors, 3, padding=1, softness=0.3), nn.NormNonLinearity(vectors, "n_softplus"),
        SoftR2Conv(vectors, fields, 3, padding=1, softness=0.3),
    )  # fmt: skip
    for scale in (1e-2, 1.0, 30.0):
        shake(model)
        check(model, random_field(fields, 2, 5, 5, scale=scale), lookahead=lookahead)


def test_a_bound_that_is_attained_is_not_contradicted():
    """Without weights a layer's error is that of its bias, exactly: measured and claimed differ by rounding alone."""
    space = planar("D4")
    field = space.type(space.regular_repr)
    layer = SoftR2Conv(field, field, 1, softness=1.0).double().eval()
    torch.nn.init.zeros_(layer.weights)
    for seed in range(60):
        torch.manual_seed(seed)
        torch.nn.init.normal_(layer.soft_bias)
        check(layer, random_field(field, 2, 5, 7, dtype=torch.float64), lookahead=0)


def test_exact_networks_are_off_by_rounding_only():
    model = Residual(planar("D4"), 0.0).eval()
    x = random_field(model.in_type, 2, 9, 9)
    assert check(model, x).relative < 1e-2
    assert (
        check(model.branch.double(), random_field(model.branch.in_type, 1, 9, 9, dtype=torch.float64)).relative < 1e-10
    )


def test_restriction_and_disentangling():
    space = gspaces.flipRot2dOnR2(4)
    field = space.type(space.regular_repr)
    restricted = nn.RestrictionModule(field, (None, 4))
    split = nn.DisentangleModule(restricted.out_type)
    model = nn.SequentialModule(restricted, split)
    cert = certify(model, random_field(field, 2, 5, 5))
    assert cert.certified
    assert len(cert.covered) == 4
    assert "outside the subgroup" in cert.not_covered[0][1]
    child = space.fibergroup.subgroup((None, 4))[2]
    x = random_field(field, 2, 5, 5)
    with torch.no_grad():
        for element in cert.covered:
            there, back = model(act(element, x)), act(child(element), model(x))
            assert (there.tensor - back.tensor).norm() <= 2 * cert.bound


def test_a_wrong_action_is_found():
    model = Residual(planar("C4"), 0.5)
    shake(model)
    field = model.in_type.gspace.type(model.in_type.gspace.regular_repr)
    layer = nn.SequentialModule(SoftR2Conv(field, field, 3, softness=0.1))
    x = random_field(field, 1, 7, 7)
    cert = check(layer, x)

    def transposed(element, y: GeometricTensor) -> GeometricTensor:
        moved = torch.einsum("ji,njhw->nihw", torch.tensor(y.type.representation(element)).float(), y.tensor)
        return GeometricTensor(torch.rot90(moved, int(element.value), (2, 3)), y.type)

    assert violations(layer, x, cert, action=transposed)


def test_a_wrong_gain_is_found():
    field = planar("C4").type(planar("C4").regular_repr)
    layer = SoftR2Conv(field, field, 3, softness=0.1)
    shake(layer)
    x = random_field(field, 1, 7, 7)
    layer.softness = 0.0
    cert = certify(layer, x, lookahead=None)
    layer.softness = 1.0
    assert violations(layer, x, cert)


def test_lipschitz_constants_of_networks():
    model = Residual(planar("C4"), 0.5)
    shake(model)
    x = random_field(model.in_type, 1, 7, 7)
    cert = certify(model, x)
    with torch.no_grad():
        for scale in (1e-3, 1e-1, 10.0):
            y = x.tensor + scale * torch.randn_like(x.tensor)
            assert (model(x.type(y)) - model(x)).norm() <= cert.lipschitz * (y - x.tensor).norm() + 1e-5


def test_repr_and_dict():
    model = Residual(planar("C4"), 0.5)
    shake(model)
    cert = certify(model, random_field(model.in_type, 1, 7, 7))
    assert "branch.1" in repr(cert)
    assert json.loads(json.dumps(cert.to_dict()))["bound"] == cert.bound


@pytest.mark.parametrize(
    ("model", "x", "elements", "match"),
    [
        (None, None, None, "model"),
        ("ok", torch.zeros(1, 1, 5, 5), None, "in_type"),
        ("ok", "field", [1], "elements"),
        ("ok", "infinite", None, "finite numbers"),
        ("training", "field", None, "evaluation mode"),
        ("ok", "field", "foreign", "elements of"),
    ],
)
def test_wrong_arguments(model, x, elements, match):
    image = planar("C4").type(planar("C4").trivial_repr)
    if model is not None:
        norm = nn.SequentialModule(nn.InnerBatchNorm(image))
        model = norm.eval() if model == "ok" else norm.train()
    if isinstance(x, torch.Tensor):
        model = torch.nn.Sequential(model)
    elif x is not None:
        x = random_field(image, 1, 5, 5, scale=float("inf") if x == "infinite" else 1.0)
    if elements == "foreign":
        elements = [planar("C8").fibergroup.element(1)]
    with pytest.raises(ArgumentError, match=match):
        certify(model, x, elements)
