"""What is not covered is named, with the reason, and there is no number."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from escnn import gspaces, nn

from escnn_soft import SoftR2Conv
from escnn_soft.certification import certify
from escnn_soft.errors import FieldTypeError
from tests.cases import planar, point
from tests.certification.checks import check, random_field

C4 = planar("C4")
IMAGE = C4.type(C4.trivial_repr)
FIELD = C4.type(C4.regular_repr)
IRREP = C4.type(C4.irrep(1))


class Body(torch.nn.Module):
    """A soft convolution and something after it."""

    def __init__(self, after, field=FIELD):
        super().__init__()
        self.conv = SoftR2Conv(field, field, 3, padding=1, softness=0.2)
        self.after = after

    def forward(self, x):
        return self.after(self.conv(x))


class Cube(torch.nn.Module):
    def forward(self, x):
        return x.type(x.tensor**3)


class Changed(nn.ReLU):
    def forward(self, x):
        return x.type(100 * x.tensor.roll(1, 1))


class Branches(torch.nn.Module):
    def forward(self, x):
        return x * 2.0 if x.tensor.sum() > 0 else x


class InPlace(torch.nn.Module):
    def forward(self, x):
        y = x.tensor
        y[:, 0] = 0
        return x.type(y)


class Detour(torch.nn.Module):
    def forward(self, x):
        return x.type(torch.from_numpy(x.tensor.numpy()))


class Unwrapped(torch.nn.Module):
    def forward(self, x):
        return C4.type(*[C4.trivial_repr] * 4)(x.tensor)


UNCOVERED = {
    "even stride": (nn.R2Conv(FIELD, FIELD, 3, padding=1, stride=2), FIELD, 8, "after", "off-centre on size 8"),
    "pooling off centre": (nn.PointwiseAvgPool2D(FIELD, 2), FIELD, 7, "after", "off-centre on size 7"),
    "maximum off centre": (nn.PointwiseMaxPool2D(FIELD, 3, 2, 1), FIELD, 8, "after", "off-centre on size 8"),
    "blur off centre": (nn.PointwiseAvgPoolAntialiased2D(FIELD, 0.6, 2), FIELD, 8, "after", "off-centre on size 8"),
    "oblong window": (nn.PointwiseAvgPool2D(FIELD, (3, 1), 1), FIELD, 7, "after", "differs between the axes"),
    "no rule": (Cube(), FIELD, 5, "after", "no rule for torch.pow"),
    "overridden forward": (Changed(FIELD), FIELD, 5, "after", "no rule for torch.roll"),
    "control flow": (Branches(), FIELD, 5, "after", "reads values"),
    "in place": (InPlace(), FIELD, 5, "after", "__setitem__"),
    "numpy": (Detour(), FIELD, 5, "after", "reads values"),
    "retyped": (Unwrapped(), FIELD, 5, "output", "transforms differently"),
    "transposed": (
        nn.R2ConvTransposed(FIELD, FIELD, 3, padding=1, output_padding=1, stride=2), FIELD, 5, "after",
        "output_padding 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(UNCOVERED))
def test_uncovered_layers_are_named(name):
    after, field, size, layer, reason = UNCOVERED[name]
    model = Body(after, field).eval()
    cert = certify(model, random_field(field, 1, size, size))
    assert cert.bound == math.inf
    assert not cert.certified
    assert any(layer == where and reason in why for where, why in cert.not_covered), cert.not_covered
    assert "not covered" in repr(cert)
    assert cert.to_dict()["bound"] is None


class Functional(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x.tensor)


@pytest.mark.parametrize(
    ("function", "covered"),
    [
        (lambda t: F.relu(t), True),
        (lambda t: t + 1.0, True),
        (lambda t: 2 * t - t / 3, True),
        (lambda t: torch.cat([t, F.elu(t)], dim=1), True),
        (lambda t: t.mean((2, 3)), True),
        (lambda t: t.amax(dim=(-1, -2)), True),
        (lambda t: F.adaptive_avg_pool2d(t, 1).flatten(1), True),
        (lambda t: F.leaky_relu(t, 0.3).clone().detach(), True),
        (lambda t: t.relu_(), True),
        (lambda t: t * t, False),
        (lambda t: t.mean(2), False),
        (lambda t: t.sum(), False),
        (lambda t: t.flatten(1), False),
        (lambda t: t[:, :1], False),
        (lambda t: torch.stack([t, t]), False),
        (lambda t: t + t.flip(3), False),
        (lambda t: torch.softmax(t, 1), False),
        (lambda t: F.dropout(t), False),
        (lambda t: t.mean((2, 3)).flatten(1)[:, :1], False),
    ],
)
def test_functions_between_modules(function, covered):
    model = torch.nn.Sequential(SoftR2Conv(FIELD, FIELD, 3, softness=0.2), Functional(function)).eval()
    x = random_field(FIELD, 3, 7, 7)
    cert = certify(model, x)
    assert cert.certified == covered, cert.not_covered
    if covered:
        wrapped = torch.nn.Sequential(model, Wrap(cert))
        check(wrapped, x)


class Wrap(torch.nn.Module):
    """Gives the plain output of a model its type again, so that the action on it can be measured."""

    def __init__(self, cert):
        super().__init__()
        self.cert = cert

    def forward(self, t):
        space = gspaces.no_base_space(C4.fibergroup) if t.ndim == 2 else C4
        return space.type(*[C4.regular_repr] * (t.shape[1] // 4))(t)


def test_pointwise_functions_do_not_commute_with_rotations():
    model = torch.nn.Sequential(SoftR2Conv(IRREP, IRREP, 3, softness=0.2), Functional(torch.relu)).eval()
    assert "mixes" in certify(model, random_field(IRREP, 1, 7, 7)).not_covered[0][1]


def test_elements_off_the_grid():
    space = planar("C8")
    field = space.type(space.regular_repr)
    model = SoftR2Conv(field, field, 3).eval()
    x = random_field(field, 1, 7, 7)
    cert = check(model, x)
    assert len(cert.covered) == 4
    assert "interpolated" in cert.not_covered[0][1]
    eighth = space.fibergroup.element(1)
    assert cert.at(eighth) == math.inf
    asked = certify(model, x, elements=[eighth, space.fibergroup.identity])
    assert asked.bound == math.inf
    assert "interpolated" in asked.not_covered[0][1]
    assert math.isfinite(asked.at(space.fibergroup.identity))


def test_a_stale_kernel_is_found():
    model = nn.R2Conv(FIELD, FIELD, 3).eval()
    with torch.no_grad():
        model.weights.mul_(2.0)
    assert "kept kernel" in certify(model, random_field(FIELD, 1, 5, 5)).not_covered[0][1]


def test_a_norm_of_zero_fields_has_no_constant():
    model = Body(nn.NormNonLinearity(IRREP, "n_sigmoid"), IRREP).eval()
    x = IRREP(torch.zeros(1, 2, 5, 5))
    assert certify(model, x).bound in (0.0, math.inf)


def test_a_plain_layer_on_a_field():
    model = torch.nn.Sequential(
        SoftR2Conv(IMAGE, FIELD, 3, softness=0.1), Functional(lambda t: t), torch.nn.Conv2d(4, 2, 1)
    )
    cert = certify(model.eval(), random_field(IMAGE, 1, 5, 5))
    assert "plain torch layer" in cert.not_covered[0][1]
    assert cert.not_covered[0][0] == "2"


def test_the_model_is_left_as_it_was():
    model = Body(Cube()).eval()
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    certify(model, random_field(FIELD, 1, 5, 5))
    assert all("forward" not in vars(module) for module in model.modules())
    assert {name: set(vars(m)) for name, m in model.named_modules()} == {n: set(v) for n, v in before.items()}
    vectors = point("C4").type(point("C4").regular_repr)
    with pytest.raises(FieldTypeError):
        certify(model, random_field(vectors, 1))
    assert all("forward" not in vars(module) for module in model.modules())
