"""The adversary finds what is wrong, comes close to what is tight, and leaves no trace.

``HYPOTHESIS_PROFILE=nightly`` searches 1,000 networks, twenty times as long each.
"""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from escnn import group, gspaces, nn
from hypothesis import given, settings
from hypothesis import strategies as st

from escnn_soft import SoftLinear, SoftMatrixLinear, SoftR2Conv, certificate, certify, soften
from escnn_soft.errors import ArgumentError
from escnn_soft.groups import lorentz_group, orthogonal_group, vector
from escnn_soft.testing import (
    geometric_tensors,
    networks,
    randomize,
    search_violation,
    soft_linears,
    soft_r2convs,
)
from escnn_soft.testing import gspaces as drawn_gspaces
from tests.certification.deep_networks import HIDDEN, IMAGE, SPACE, deep

NIGHTLY = settings.default.max_examples >= 1000
STEPS, RESTARTS = (200, 8) if NIGHTLY else (10, 2)
TENTH = settings(max_examples=1000 if NIGHTLY else max(3, settings.default.max_examples // 10))


def conv(softness: float = 0.5, **geometry) -> SoftR2Conv:
    layer = SoftR2Conv(HIDDEN, HIDDEN, 3, padding=1, softness=softness, **geometry)
    randomize(layer)
    return layer.double()


def linear(name: str) -> SoftLinear:
    fibres = {"SO(2)": group.so2_group(2), "O(2)": group.o2_group(2), "D3": group.dihedral_group(3)}[name]
    space = gspaces.no_base_space(fibres)
    field = space.type(*[fibres.irrep(*psi.id) for psi in fibres.irreps()[:3]])
    layer = SoftLinear(field, field, softness=0.7)
    randomize(layer)
    return layer.double()


# ---------------------------------------------------------------------- single layers


def test_a_convolution_reaches_its_operator_norm() -> None:
    layer = conv()
    found = search_violation(layer, layer.certificate(), restarts=2)
    assert not found.violated
    assert found.error >= 0.8 * layer.certificate().operator
    assert 0.8 <= found.tightness <= 1.0
    assert 0.8 <= found.lipschitz_tightness <= 1.0
    assert float(found.input.norm()) >= 1.0 - 1e-9
    assert found.evaluations == (4 + 1) * 2 * 61  # elements and the Lipschitz constant


@pytest.mark.parametrize("name", ["SO(2)", "O(2)", "D3"])
def test_a_matrix_attains_the_norm_of_its_error(name) -> None:
    layer = linear(name)
    found = search_violation(layer, layer.certificate(), restarts=3)
    assert not found.violated
    assert found.tightness > 0.9  # error and bias need not point the same way


@pytest.mark.parametrize("matrices", [orthogonal_group(3), lorentz_group()])
def test_matrix_groups(matrices) -> None:
    v = vector(matrices)
    layer = SoftMatrixLinear(2 * v, v, softness=1.0).double()
    cert = layer.certificate()
    found = search_violation(layer, cert, restarts=2, steps=40)
    assert not found.violated
    assert found.tightness > 0.9
    assert found.lipschitz_tightness is None
    small = dataclasses.replace(cert, matrix=0.5 * cert.matrix)
    assert search_violation(layer, small, restarts=2, steps=40).violated


def test_plain_layers_take_their_types_from_outside() -> None:
    plain = torch.nn.Conv2d(1, 16, 3, dtype=torch.float64)
    found = search_violation(plain, certificate(plain, IMAGE, HIDDEN), in_type=IMAGE, out_type=HIDDEN, restarts=2)
    assert not found.violated
    assert found.tightness > 0.8


@pytest.mark.parametrize("part", ["operator", "lipschitz"])
def test_a_certificate_too_small_is_found_out(part) -> None:
    layer, cert = conv(), conv().certificate()
    small = dataclasses.replace(cert)
    vars(small)[part] = 0.5 * getattr(cert, part)  # as the property keeps it
    found = search_violation(layer, small, restarts=2, steps=30)
    assert found.violated
    assert (found.tightness > 1) == (part == "operator")
    assert (found.lipschitz_tightness > 1) == (part == "lipschitz")


@TENTH
@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_no_layer_is_found_to_exceed_its_certificate(data, dtype) -> None:
    layers = soft_linears(dtype=dtype) | soft_r2convs(data.draw(drawn_gspaces(2, grid=True)), dtype=dtype)
    layer = data.draw(layers)
    elements = None if layer.in_type.gspace.fibergroup.elements is not None else [layer.in_type.fibergroup.identity]
    found = search_violation(layer, layer.certificate(), elements=elements, steps=STEPS, restarts=RESTARTS)
    assert not found.violated, found


# ---------------------------------------------------------------------- networks


def image(seed: int = 0, batch: int = 1) -> nn.GeometricTensor:
    return IMAGE(torch.randn(batch, 1, 17, 17, generator=torch.Generator().manual_seed(seed)))


def test_a_neighbourhood_of_a_deep_network_holds_out() -> None:
    torch.manual_seed(0)
    model, x = deep(4, 0.1), image(batch=2)
    radius = 0.01 * float(x.tensor.norm())
    cert = certify(model, x, radius=radius)
    found = search_violation(model, cert, x, steps=20, restarts=3)
    assert not found.violated
    assert found.evaluations == (4 + 1) * 21 * 3 * 2
    assert found.error > certify(model, x).bound  # which x alone does not reach
    assert 0.1 < found.tightness < 1.0
    distances = (found.input.double() - x.tensor.double()).flatten(1).norm(dim=1)
    assert float(distances.min()) <= radius
    small = dataclasses.replace(cert, bound=0.5 * found.error)
    assert search_violation(model, small, x, steps=20, restarts=3).violated


def test_rounding_alone_is_no_violation() -> None:
    torch.manual_seed(0)
    model, x = deep(4, 0.0), image()
    for radius in (0.0, 0.01 * float(x.tensor.norm())):
        assert not search_violation(model, certify(model, x, radius=radius), x, steps=10, restarts=2).violated


def test_an_input_alone_is_tried_once_for_each_element() -> None:
    torch.manual_seed(0)
    model, x = deep(2, 0.5), image()
    cert = certify(model, x)
    found = search_violation(model, cert, x, steps=5)
    assert found.evaluations == 4 + 6
    assert torch.equal(found.input, x.tensor[0])
    assert 0.9 < found.tightness <= 1.0
    element = SPACE.fibergroup.element(1)
    single = search_violation(model, cert, x, elements=[element], steps=5)
    assert single.element == element
    assert single.bound == cert.at(element)


def test_every_element_of_an_infinite_group_is_searched() -> None:
    layer = linear("SO(2)")
    model = torch.nn.Sequential(layer)
    x = layer.in_type(torch.randn(2, layer.in_type.size, dtype=torch.float64))
    cert = certify(model, x, radius=0.1)
    found = search_violation(model, cert, x, steps=20, restarts=2)
    assert cert.covered == ("every element",)
    assert not found.violated
    assert found.tightness > 0.5
    with pytest.raises(ArgumentError, match="elements that the certificate covers"):
        search_violation(model, cert, x, elements=[SPACE.fibergroup.element(1)])


def test_plain_models_with_invariant_outputs_need_no_type() -> None:
    model = soften(
        torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        ),
        0.3,
        gspace=SPACE,
    ).eval()
    x = image().tensor
    cert = certify(model, x, in_type=IMAGE, radius=0.1)
    if cert.certified:
        out = None if cert.output == "invariant" else SPACE.type(*[SPACE.trivial_repr] * 4)
        assert not search_violation(model, cert, x, in_type=IMAGE, out_type=out, steps=5).violated


@TENTH
@given(data=st.data())
def test_no_network_is_found_to_exceed_its_certificate(data) -> None:
    network = data.draw(networks() | drawn_gspaces(0, kinds=["cyclic", "dihedral"], max_rotations=4).flatmap(networks))
    x = data.draw(geometric_tensors(network.in_type, sides=(5, 7), dtypes=[torch.float64]))
    radius = data.draw(st.sampled_from([0.0, 1e-3, 1.0]))
    cert = certify(network, x, radius=radius)
    assert math.isfinite(cert.bound)
    assert not search_violation(network, cert, x, steps=STEPS, restarts=RESTARTS).violated


# ---------------------------------------------------------------------- no traces, no surprises


class Noisy(torch.nn.Module):
    """Draws random numbers, counts its calls, and has no gradient."""

    in_type = out_type = IMAGE

    def __init__(self) -> None:
        super().__init__()
        self.conv = SoftR2Conv(IMAGE, IMAGE, 3, padding=1, softness=0.5)
        randomize(self.conv)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        torch.rand(1)
        self.calls += 1
        return IMAGE(self.conv(x).tensor.detach())


def test_the_model_is_left_as_it_was() -> None:
    model = Noisy().train()
    model.conv.weights.grad = torch.ones_like(model.conv.weights)
    state, mode = torch.get_rng_state(), model.conv.training
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        first = search_violation(model, model.conv.certificate(), torch.zeros(1, 1, 9, 9), steps=5)
    assert first == search_violation(model, model.conv.certificate(), torch.zeros(1, 1, 9, 9), steps=5)
    assert 0.0 < first.tightness <= 1.0  # by signs alone
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert model.conv.training == mode
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(model.conv.weights.grad, torch.ones_like(model.conv.weights))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "conv.weights")


def test_a_search_is_written_down_without_its_input() -> None:
    layer = linear("D3")
    written = search_violation(layer, layer.certificate(), steps=5).to_dict()
    assert written["violated"] is False
    assert "input" not in written
    json.dumps(written, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": torch.relu}, "a Module"),
        ({"certificate": 0.5}, "a Certificate, MatrixCertificate or NetworkCertificate"),
        ({"x": None}, "the input that was certified"),
        ({"x": [1.0]}, "a tensor or GeometricTensor"),
        ({"x": image(seed=1)}, "Pass the x that certify was given"),
        ({"x": image(batch=2)}, "Pass the x that certify was given"),
        ({"elements": "all"}, "a sequence of group elements"),
        ({"elements": [gspaces.rot2dOnR2(8).fibergroup.element(1)]}, "elements that the certificate covers"),
        ({"steps": -1}, "an integer >= 0"),
        ({"restarts": 0}, "an integer >= 1"),
        ({"seed": 0.5}, "an integer >= 0"),
    ],
)
def test_bad_arguments(change, message) -> None:
    torch.manual_seed(0)
    model, x = deep(1, 0.1), image()
    arguments = {"model": model, "certificate": certify(model, x), "x": x, **change}
    with pytest.raises(ArgumentError, match=message):
        search_violation(**arguments)


def test_elements_that_a_layer_does_not_cover_are_refused() -> None:
    layer = conv(stride=2)
    x = torch.zeros(1, 16, 8, 8, dtype=torch.float64)
    with pytest.raises(ArgumentError, match="stride 2 is off-centre on size 8"):
        search_violation(layer, layer.certificate(), x, elements=[SPACE.fibergroup.element(1)])
    assert search_violation(layer, layer.certificate(), x, steps=1).element == SPACE.fibergroup.identity


def test_a_certificate_of_nothing_is_refused() -> None:
    x = image()
    model = torch.nn.Sequential(SoftR2Conv(IMAGE, IMAGE, 4, stride=2))
    cert = certify(model, IMAGE(torch.zeros(1, 1, 7, 7)), elements=[SPACE.fibergroup.element(1)])
    assert not cert.covered
    with pytest.raises(ArgumentError, match="a certificate that covers something"):
        search_violation(model, cert, x)
