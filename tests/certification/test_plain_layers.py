"""Plain torch networks, softened or not: fields are those of the filters, of the module around, or scalars."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from escnn import nn
from escnn.nn import EquivariantModule
from torch.nn.utils.parametrize import register_parametrization

from escnn_soft import SoftFilter, certify, harden, projected, soften
from escnn_soft.dial import FieldTypes
from escnn_soft.grading import GradedWeight, fibre_transform
from tests.cases import planar, point
from tests.certification.checks import check, measured, random_field, shake

C4 = planar("C4")
IMAGE = C4.type(*[C4.trivial_repr] * 3)
HIDDEN = C4.type(*[C4.regular_repr] * 2)


def classifier() -> torch.nn.Sequential:
    """What many a script begins with."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.BatchNorm2d(8), torch.nn.ReLU(inplace=True),
        torch.nn.MaxPool2d(3, 2, 1), torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.GroupNorm(2, 8), torch.nn.SiLU(),
        torch.nn.Upsample(scale_factor=2, mode="bilinear"), torch.nn.AvgPool2d(2), torch.nn.Dropout2d(),
        torch.nn.Conv2d(8, 8, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5),
    )  # fmt: skip


def typed(model, in_type):
    """The model on fields, as checks measure it."""

    class Typed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x.tensor)

    return Typed().eval()


@pytest.mark.parametrize("softness", [None, 0.0, 0.1, 1.0])
@pytest.mark.parametrize("lookahead", [None, 1])
def test_a_plain_classifier(softness, lookahead):
    model = classifier()
    shake(model)
    if lookahead is None:
        del model[7:9]  # resizing is measured
    if softness is not None:
        model = soften(model, softness, gspace=C4)
    x = random_field(IMAGE, 2, 13, 13)
    cert = certify(model.eval(), x.tensor, in_type=IMAGE, lookahead=lookahead)
    assert cert.certified, cert.not_covered
    assert cert.output == "invariant"
    check(typed(model, IMAGE), x, lookahead=lookahead)
    if softness == 0.0:
        assert max(term.own for term in cert.terms if term.kind != "rounding") < 1e-4


def test_the_bound_falls_with_the_softness():
    model = classifier()
    x = random_field(IMAGE, 2, 13, 13)
    softened = [soften(model, s, gspace=C4).eval() for s in (0.0, 0.05, 0.2)]
    bounds = [certify(each, x.tensor, in_type=IMAGE).bound for each in softened]
    assert bounds == sorted(bounds)
    hard = harden(copy.deepcopy(softened[1])).eval()
    assert certify(hard, x.tensor, in_type=IMAGE).bound == pytest.approx(bounds[0], rel=0.1)


def test_filters_know_their_fields():
    """Hidden fields that are not scalars come from ``field_types``; a layer that expects others is named."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3)
    ).eval()
    types = {"0": (IMAGE, HIDDEN), "3": (HIDDEN, HIDDEN)}
    soft = soften(model, 0.1, gspace=C4, field_types=types).eval()
    x = random_field(IMAGE, 2, 9, 9)

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.soft = soft

        def forward(self, x):
            return HIDDEN(self.soft(x.tensor))

    cert = check(Wrapped().eval(), x)
    assert {term.layer: term.kind for term in cert.terms}["soft.1"] == "soft"
    check(Wrapped().eval(), x, lookahead=None)
    apart = soften(model, 0.1, gspace=C4, field_types={"0": (IMAGE, HIDDEN)}).eval()
    (layer, reason), *_ = certify(apart, x.tensor, in_type=IMAGE).not_covered
    assert layer == "3"
    assert "and the group acts on its input otherwise" in reason


def test_statistics_that_differ_inside_a_field_count():
    norm = torch.nn.BatchNorm2d(8).eval()
    model = nn.SequentialModule(nn.IdentityModule(HIDDEN))
    x = random_field(HIDDEN, 2, 5, 5)

    class Normed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = model, norm

        def forward(self, x):
            return HIDDEN(self.norm(self.first(x).tensor))

    agreeing = check(Normed().eval(), x)
    assert agreeing.bound < 1e-3
    with torch.no_grad():
        norm.running_var.uniform_(0.5, 2.0)
        norm.bias.normal_()
    for lookahead in (None, 1):
        cert = check(Normed().eval(), x, lookahead=lookahead)
        assert cert.bound > 0.1
    with torch.no_grad():
        found = max(float(measured(Normed().eval(), x, g).max()) for g in cert.covered)
    assert cert.bound < 1.01 * found


class Wrapping(EquivariantModule):
    """A plain layer in a module that says between which fields it maps."""

    def __init__(self, layer, in_type, out_type):
        super().__init__()
        self.layer, self.in_type, self.out_type = layer, in_type, out_type

    def forward(self, x):
        return self.out_type(self.layer(x.tensor))

    def evaluate_output_shape(self, input_shape):
        return input_shape


def test_a_module_of_escnns_kind_declares_the_fields_of_a_plain_layer():
    wrapped = Wrapping(torch.nn.Conv2d(3, 8, 3, padding=1), IMAGE, HIDDEN).eval()
    for lookahead in (None, 1):
        check(wrapped, random_field(IMAGE, 2, 7, 7), lookahead=lookahead)


@pytest.mark.parametrize("name", ["C4", "D4", "SO(2)"])
def test_projected_layers(name):
    space = planar(name)
    rho = space.trivial_repr if space.fibergroup.continuous else space.regular_repr
    image, hidden = space.type(space.trivial_repr), space.type(*[rho] * 2)
    model = nn.SequentialModule(
        nn.R2Conv(image, hidden, 3, padding=1), nn.InnerBatchNorm(hidden), nn.ReLU(hidden), nn.R2Conv(hidden, hidden, 3)
    )
    plain = projected(soften(model, 0.2)).eval()
    shake(plain)
    cert = check(plain, random_field(image, 2, 9, 9))
    assert {"0.dense", "3.dense"} <= {term.layer for term in cert.terms if term.kind == "soft"}


def test_filtered_linear_maps_of_feature_vectors():
    space = point("C4")
    field, out = space.type(*[space.regular_repr] * 2), space.type(space.regular_repr)
    for every in (False, True):
        linear = torch.nn.Linear(8, 4)
        graded = GradedWeight(fibre_transform(space, field.representations, out.representations))
        register_parametrization(linear, "weight", SoftFilter(graded, 0.2, linear.weight, types=FieldTypes(field, out)))

        class Wrapped(torch.nn.Module):
            def __init__(self, layer=linear):
                super().__init__()
                self.layer = layer

            def forward(self, x):
                return out(self.layer(x.tensor).relu())

        check(Wrapped().eval(), random_field(field, 3), lookahead=None if every else 1)
    cert = certify(torch.nn.Linear(8, 4).eval(), random_field(field, 1).tensor, in_type=field)
    assert "plain torch layer" in cert.not_covered[0][1]


def test_transposed_and_spatial_convolutions_between_scalars():
    model = torch.nn.Sequential(torch.nn.ConvTranspose2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
    x = random_field(IMAGE, 2, 7, 7)

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return C4.type(*[C4.trivial_repr] * 2)(self.model(x.tensor))

    check(Wrapped().eval(), x)


def test_tables_of_positions_count_on_images_and_are_named_on_tokens():
    """x + table before tokens are made is a layer like any; what a vision transformer does is not followed."""

    class Tokens(torch.nn.Module):
        def __init__(self, early):
            super().__init__()
            self.patches = torch.nn.Conv2d(3, 8, 3, stride=3)
            self.pos_embed = torch.nn.Parameter(torch.randn(1, 8, 3, 3))
            self.early = early

        def forward(self, x):
            h = self.patches(x.tensor)
            if self.early:
                return (h + self.pos_embed).relu().mean((2, 3))
            tokens = h.flatten(2).transpose(1, 2)
            return (tokens + self.pos_embed.flatten(2).transpose(1, 2)).mean(1)

    x = random_field(IMAGE, 2, 9, 9)
    cert = check(Tokens(True).eval(), x)
    assert any("torch.add" in term.layer and term.own > 1 for term in cert.terms)
    cert = certify(Tokens(False).eval(), x)
    assert cert.bound == math.inf
    assert "tables of their positions are not followed" in cert.not_covered[0][1]
