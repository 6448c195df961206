"""Models made to fool `certify`: each is refused with its reason, or bounded by what it does."""

from __future__ import annotations

import math
import random

import pytest
import torch
import torch.nn.functional as F
from escnn import gspaces, nn

from escnn_soft import SoftR2Conv
from escnn_soft.certification import certify
from escnn_soft.certification.operations import METADATA
from escnn_soft.certification.rules.linear_layers import LinearLayer
from escnn_soft.certification.rules.pooling import Window, overlap
from escnn_soft.certification.rules.rule import EXACT
from tests.cases import planar, point
from tests.certification.checks import check, random_field, shake, violations

C4 = planar("C4")
IMAGE, FIELD, IRREP = C4.type(C4.trivial_repr), C4.type(C4.regular_repr), C4.type(C4.irrep(1))
POINTS = point("C4")
SCALARS = POINTS.type(*[POINTS.trivial_repr] * 4)


class Model(torch.nn.Module):
    """A convolution, and a function of its result and of all modules."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.parts = function, torch.nn.ModuleList(modules)

    def forward(self, x):
        return self.function(self.parts[0](x), self.parts)


def model(function, field=FIELD, *others):
    return Model(function, nn.R2Conv(IMAGE, field, 3, padding=1), *others).eval()


def invariant(function, *others):
    return Model(function, nn.IdentityModule(SCALARS), *others).eval()


class Loud(nn.MergeModule):
    def forward(self, x):
        out = super().forward(x)
        out.tensor[:, 0, 0, 0] += 5
        return out


class Merging(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.merge = Loud([(nn.R2Conv(IMAGE, FIELD, 3, padding=1), "a")])

    def forward(self, x):
        return self.merge({"a": x})


class Alternating(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return x


def wiped(h, parts):
    h.tensor.data[:, 0] = 0
    return h


def oblong(then):
    """Does something where the image is higher than wide, which the second run is."""
    return lambda h, parts: then(h, parts) if h.shape[-1] < h.shape[-2] else h


def stretched(factor):
    """Numbers written behind torch's back, as they were on an image 9 wide."""

    def write(h, parts):
        with torch._C.DisableTorchFunction():
            h.tensor.numpy()[:] *= 1.0 if h.tensor.shape[-1] == 9 else factor
        return h

    return write


def broken(h, parts):
    raise KeyError("height")


def replaced(module):
    with torch.no_grad():
        module.expanded_bias += torch.arange(4.0)
    return module


CALLS = "what it does depends on the shape of its input"
EXCESS = "something in it is not what certify followed"
SHAPES = {
    "factor": (model(lambda h, parts: h * float(h.shape[-1])), CALLS),
    "sum": (model(lambda h, parts: h.tensor.sum((2, 3)) / h.shape[-1]), CALLS),
    "reshape": (model(lambda h, parts: FIELD(h.tensor.reshape(2, 4, 5, 9))), "has shape (2, 4, 5, 9)"),
    "branch": (model(oblong(lambda h, parts: parts[1](h)), FIELD, nn.R2Conv(FIELD, FIELD, 3, padding=1)), CALLS),
    "margin": (model(oblong(lambda h, parts: parts[1](h)), FIELD, nn.R2Conv(FIELD, FIELD, 3)), CALLS),
    "numpy": (model(stretched(1.8)), EXCESS),
    "infinite numpy": (model(stretched(math.inf)), "infinities"),
    "exception": (model(oblong(broken)), "it cannot be run on the transformed input: KeyError"),
    "infinite": (model(oblong(lambda h, parts: h * math.inf)), CALLS),
    "type": (model(oblong(lambda h, parts: h.tensor)), "it returns a Tensor"),
}


@pytest.mark.parametrize("lookahead", [None, 1])
@pytest.mark.parametrize("name", list(SHAPES))
def test_shapes_that_a_quarter_turn_swaps(name, lookahead):
    attacked, reason = SHAPES[name]
    cert = certify(attacked, random_field(IMAGE, 2, 5, 9), lookahead=lookahead)
    assert cert.bound == math.inf
    assert len(cert.covered) == 2  # the identity and the half turn
    assert cert.not_covered
    assert all(reason in why for _, why in cert.not_covered)


ATTACKS = {
    ".data": (model(wiped), "Model", "it takes .data"),
    "merge": (Merging().eval(), "merge", "__setitem__"),
    "random": (model(lambda h, parts: h * random.random()), "model", "running it twice"),
    "bias": (replaced(nn.R2Conv(IMAGE, FIELD, 3).eval()), "R2Conv", "kept kernel or bias"),
    "div": (model(lambda h, _: IRREP(torch.div(h.tensor, 0.1, rounding_mode="floor")), IRREP), "Model", "rounding_"),
    "softplus": (model(lambda h, _: FIELD(F.softplus(h.tensor, threshold=0.0))), "Model", "change its slope"),
    "elu": (model(lambda h, _: FIELD(F.elu_(h.tensor, 1.0, 5.0))), "Model", "change its slope"),
    "celu": (model(lambda h, _: FIELD(F.celu(h.tensor, -2.0))), "Model", "change its slope"),
    "float16": (model(lambda h, _: FIELD(h.tensor.to(torch.float16).to(torch.float32))), "Model", "casts to float16"),
    "overflow": (model(lambda h, _: FIELD(h.tensor * 1e38 * 1e38)), "Model", "infinities or NaN"),
    "overflow unseen": (model(lambda h, _: FIELD(F.relu6(h.tensor * 1e38 * 1e38))), "Model", "infinities or NaN"),
    "one axis": (model(lambda h, _: FIELD(h.tensor.view(-1).relu().view(h.tensor.shape))), "Model", "mixes the sample"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(ATTACKS))
def test_attacks_on_fields(name):
    attacked, layer, reason = ATTACKS[name]
    cert = certify(attacked, random_field(IMAGE, 2, 7, 7))
    assert cert.bound == math.inf
    assert any(where == layer and reason in why for where, why in cert.not_covered), cert.not_covered


INVARIANT = {
    "bias": (invariant(lambda h, parts: F.linear(h.tensor, parts[1].weight, torch.ones(3)), torch.nn.Linear(4, 3)),
             "no parameter"),
    "ellipsis": (invariant(lambda h, _: h.tensor[..., 0, :]), "indexing"),
    "scaled": (invariant(lambda h, _: torch.add(h.tensor, 3.0, h.tensor)), "in this form"),
    "two": (invariant(lambda h, _: h.tensor.view_as(2 * h.tensor)), "more than one activation"),
    "integers": (invariant(lambda h, _: h.tensor.sum(1, keepdim=True, dtype=torch.int32)), "to torch.int32"),
    "layer norm": (invariant(lambda h, parts: parts[1](h.tensor), torch.nn.LayerNorm((4, 4))), "over the batch"),
    "one image": (
        invariant(lambda h, parts: parts[1](h.tensor.view(4, 2, 2)), torch.nn.Conv2d(4, 4, 1)), "no batch of images"
    ),
    "flatten": (invariant(lambda h, parts: parts[1](h.tensor), torch.nn.Flatten(0)), "mixes the samples"),
    "oblong dilation": (
        invariant(
            lambda h, parts: parts[1](h.tensor.view(4, 1, 2, 2)), torch.nn.Conv2d(1, 1, 2, dilation=(1, 2), padding=1)
        ),
        "dilation=(1, 2)",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:This overload of add is deprecated")
@pytest.mark.parametrize("name", list(INVARIANT))
def test_attacks_on_invariants(name):
    attacked, reason = INVARIANT[name]
    x = random_field(SCALARS, 4)
    # an error in front of it, so that a constant is asked for
    softened = torch.nn.Sequential(Preceded(), attacked) if name == "oblong dilation" else attacked
    cert = certify(softened.eval(), POINTS.type(POINTS.regular_repr)(x.tensor) if softened is not attacked else x)
    assert cert.bound == math.inf
    assert any(reason in why for _, why in cert.not_covered), cert.not_covered


def test_a_sum_over_no_dimension_is_one_over_everything():
    attacked = invariant(lambda h, _: h.tensor.sum(dim=(), keepdim=True))
    assert "over everything" in certify(attacked, random_field(SCALARS, 1)).not_covered[0][1]


class Preceded(torch.nn.Module):
    """Four invariants with rounding errors."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(POINTS.type(POINTS.regular_repr), SCALARS)

    def forward(self, x):
        return self.layer(x)


LEGAL = {
    "by name": lambda h, _: FIELD(torch.mul(h.tensor, other=2.0)),
    "all by name": lambda h, _: FIELD(torch.mul(input=h.tensor, other=2.0)),
    "turned round": lambda h, _: FIELD(torch.add(other=0.1 * h.tensor, alpha=30.0, input=h.tensor)),
    "number by name": lambda h, _: FIELD(torch.add(h.tensor, other=1.0)),
    "axis": lambda h, _: (FIELD + FIELD)(torch.cat([h.tensor, F.hardtanh(h.tensor, -0.1, 0.2)], axis=1)),
    "defaults": lambda h, _: FIELD(F.celu(F.elu(F.relu(h.tensor, inplace=True), 2.0))),
}


@pytest.mark.parametrize("name", list(LEGAL))
def test_legal_calls_are_covered(name):
    attacked = Model(LEGAL[name], SoftR2Conv(IMAGE, FIELD, 3, padding=1, softness=0.3)).eval()
    shake(attacked)
    check(attacked, random_field(IMAGE, 2, 7, 7))


def test_the_factor_of_a_sum_is_that_of_its_second_argument():
    attacked = invariant(lambda h, _: torch.add(other=0.1 * h.tensor, alpha=30.0, input=h.tensor))
    assert certify(attacked, random_field(SCALARS, 4)).lipschitz == pytest.approx(4.0)


def test_a_measurement_refutes_a_claim(monkeypatch):
    layer = SoftR2Conv(IMAGE, FIELD, 3, padding=1, softness=0.5)
    shake(layer)
    monkeypatch.setattr(LinearLayer, "own", lambda self, call, row: EXACT)
    cert = certify(layer, random_field(IMAGE, 2, 7, 7))
    assert cert.bound == math.inf
    assert "its weights allow 0: it does not compute" in cert.not_covered[0][1]


def point_of(row, column):
    dense = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        dense.weight.zero_()[0, 0, row, column] = 1.0
    return SoftR2Conv.from_dense(dense, IMAGE, IMAGE)


@pytest.mark.parametrize("lookahead", [None, 1])
def test_dilated_windows_share_more_pixels(lookahead):
    assert overlap(Window((2, 2), (2, 2), (1, 1), (2, 2))) == pytest.approx(2.0)
    assert overlap(Window((3, 3), (4, 4), (1, 1), (2, 2))) == pytest.approx(2.0)
    pooled = nn.SequentialModule(point_of(0, 0), nn.PointwiseMaxPool2D(IMAGE, 2, 2, 1, 2)).eval()
    x = torch.zeros(1, 1, 13, 13)
    x[0, 0, 6, 6] = 1.0
    cert = check(pooled, IMAGE(x), lookahead=lookahead)
    assert violations(pooled, IMAGE(x), cert) == []


def norm_of(function, shape):
    """The largest singular value of a linear map of images."""
    pixels = torch.eye(math.prod(shape)).view(-1, 1, *shape)
    with torch.no_grad():
        return float(torch.linalg.matrix_norm((function(pixels) - function(0 * pixels)).flatten(1).double(), 2))


def test_constants_of_dilated_convolutions():
    dense = torch.nn.Conv2d(1, 1, 3, stride=2, dilation=2, padding=2)
    torch.nn.init.ones_(dense.weight)
    fields = POINTS.type(*[POINTS.trivial_repr] * 64)
    attacked = Model(lambda h, parts: parts[1](h.tensor.view(-1, 1, 8, 8)), nn.IdentityModule(fields), dense).eval()
    assert certify(attacked, random_field(fields, 2)).lipschitz >= norm_of(dense, (8, 8))


def test_constants_of_windows_that_are_cut_short():
    flips = gspaces.flip2dOnR2()
    image = flips.type(flips.trivial_repr)
    for kernel, size in ((3, (6, 7)), (4, (8, 8))):
        pool = nn.PointwiseAvgPool2D(image, kernel, kernel - 1, 0, ceil_mode=True).eval()
        cert = certify(pool, random_field(image, 1, *size), [flips.fibergroup.identity])
        assert cert.lipschitz >= norm_of(lambda x, pool=pool: pool(image(x)).tensor, size) * (1 - 1e-6)


def test_the_guard_leaves_everything_as_it_was():
    counting = torch.nn.Sequential(Alternating(), nn.R2Conv(IMAGE, FIELD, 3)).eval()
    x, state = torch.randn(1, 1, 5, 5), torch.get_rng_state()
    before = x.clone()
    assert certify(counting, IMAGE(x)).not_covered[0] == ("0.count", "it was written while the model ran")
    assert counting[0].count == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)
    drawing = model(lambda h, _: h * float(torch.rand(())))
    assert "running it twice" in certify(drawing, IMAGE(x)).not_covered[0][1]


def test_assumptions_and_metadata():
    cert = certify(model(lambda h, _: h), random_field(IMAGE, 1, 5, 5))
    assert any("no underflow or overflow" in text for text in cert.assumptions)
    assert all(hasattr(torch.Tensor, name) or hasattr(torch, name) for name in METADATA)
