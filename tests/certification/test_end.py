"""Deep networks, neighbourhoods of inputs, and every element of an infinite group."""

from __future__ import annotations

import math

import pytest
import torch
from escnn import group, gspaces, nn

from escnn_soft import SoftLinear, SoftR2Conv, certify
from escnn_soft.certification.net import Net
from escnn_soft.errors import ArgumentError
from escnn_soft.functions import act_on_fibres
from escnn_soft.testing import randomize, search_violation
from tests.certification.checks import measured, random_field, violations
from tests.certification.deep_networks import HIDDEN, IMAGE, SPACE, deep


@pytest.mark.parametrize("depth", [4, 8])
def test_the_bound_of_a_deep_network_is_what_it_does(depth) -> None:
    model, x = deep(depth, 0.1), random_field(IMAGE, 2, 17, 17)
    cert = certify(model, x)
    worst = max(float(measured(model, x, g).max()) for g in cert.covered)
    assert worst <= cert.bound <= 1.001 * worst
    assert cert.layerwise > cert.bound
    assert violations(model, x, cert) == []
    soft = [term for term in cert.terms if term.kind == "soft"]
    assert len(soft) == depth
    assert sum(term.contribution for term in soft) < 6 * worst  # what the layers do, not what they could


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_deep_strict_network_is_off_by_rounding(dtype) -> None:
    model, x = deep(8, 0.0).to(dtype), random_field(IMAGE, 2, 17, 17, dtype=dtype)
    cert = certify(model, x)
    assert 0 < cert.relative <= (2e-5 if dtype == torch.float32 else 1e-6)
    assert violations(model, x, cert) == []
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
    assert 0 < certify(model, x).bound <= 1e-4


class Mean(torch.nn.Module):
    def forward(self, x: nn.GeometricTensor) -> torch.Tensor:
        return x.tensor.mean((1, 2, 3))


def test_few_numbers_that_happen_to_round_rightly_count_with_what_rounding_may_do() -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        x = random_field(IMAGE, 3, 3, 3)
        cert = certify(Mean().eval(), x)
        assert "sums in an order that rounds at most twice as much as here" in cert.assumptions[0]
        values = x.tensor.flatten(1)
        others = torch.stack([values[:, torch.randperm(9)].mean(1) for _ in range(20)]).double()
        allowed = torch.tensor(cert.samples[0], dtype=torch.float64)
        assert bool((others.amax(0) - others.amin(0) <= allowed).all())


def test_nothing_is_measured_at_the_end_without_lookahead() -> None:
    model, x = deep(2, 0.1), random_field(IMAGE, 1, 9, 9)
    cert = certify(model, x, lookahead=None)
    assert cert.bound == cert.layerwise > 1.5 * certify(model, x).bound


def test_a_model_that_has_no_double_precision() -> None:
    class Single(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = deep(1, 0.1)

        def double(self) -> torch.nn.Module:
            raise RuntimeError("there is no such thing")

        def forward(self, x):
            return self.inner(x)

    model, x = Single().eval(), random_field(IMAGE, 1, 9, 9)
    torch.manual_seed(0)
    inner, outer = certify(model.inner, x), certify(model, x)
    assert inner.bound < outer.bound < 1.1 * inner.bound


# ---------------------------------------------------------------------- neighbourhoods


@pytest.mark.parametrize("softness", [0.0, 0.1])
def test_the_bound_holds_in_a_neighbourhood(softness) -> None:
    torch.manual_seed(0)
    model, x = deep(4, softness), random_field(IMAGE, 1, 17, 17)
    radius = 0.01 * float(x.tensor.norm())
    cert = certify(model, x, radius=radius)
    found = search_violation(model, cert, x, steps=25, restarts=4)
    assert certify(model, x).bound < cert.bound
    assert not found.violated
    assert cert.bound < math.inf
    assert softness == 0.0 or cert.bound <= 10 * found.error
    assert "for every y" in repr(cert)


def test_an_invariant_input_has_neighbours_too() -> None:
    """The error of a layer from fields that stay as they are to fields that do not grows with the distance."""
    space = gspaces.no_base_space(group.cyclic_group(2))
    scalar, regular = space.type(space.trivial_repr), space.type(space.regular_repr)
    layers = SoftLinear(scalar, regular, softness=1.0), nn.ReLU(regular), SoftLinear(regular, regular, softness=0.0)
    model = nn.SequentialModule(*layers).double().eval()
    for layer in (layers[0], layers[2]):
        randomize(layer)
    x = scalar(torch.zeros(1, 1, dtype=torch.float64))
    cert = certify(model, x, radius=1.0)
    y = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None]
    out = model(scalar(y)).tensor
    swapped = act_on_fibres(space.fibergroup.element(1), out, regular)
    assert float((out - swapped).norm(dim=1).detach().max()) <= cert.bound


def test_a_larger_neighbourhood_has_a_larger_bound() -> None:
    model, x = deep(1, 0.1).double(), random_field(IMAGE, 2, 9, 9, dtype=torch.float64)
    at_x, *bounds = (certify(model, x, radius=r).bound for r in (0.0, 1e-9, 0.1, 10.0))
    assert bounds == sorted(bounds)
    assert at_x <= bounds[0] * (1 + 1e-6)
    assert bounds[0] < 1.5 * certify(model, x, lookahead=0).layerwise


def test_an_exact_layer_stays_exact_in_a_neighbourhood() -> None:
    model = nn.SequentialModule(
        nn.R2Conv(IMAGE, HIDDEN, 3, padding=1), nn.InnerBatchNorm(HIDDEN), nn.ReLU(HIDDEN), nn.GroupPooling(HIDDEN)
    )
    x = random_field(IMAGE, 1, 9, 9, dtype=torch.float64)
    assert certify(model.double().eval(), x, radius=5.0).relative < 1e-4  # escnn's basis is one of single precision


def test_what_knows_nothing_of_a_neighbourhood_is_named() -> None:
    vectors = SPACE.type(SPACE.irrep(1), SPACE.irrep(1))
    gates = SPACE.type(*[SPACE.trivial_repr] * 2)
    model = nn.SequentialModule(
        SoftR2Conv(IMAGE, gates + vectors, 3, padding=1), nn.GatedNonLinearity1(gates + vectors, drop_gates=True)
    ).eval()
    x = random_field(IMAGE, 1, 5, 5)
    assert certify(model, x).certified
    cert = certify(model, x, radius=0.1)
    assert cert.bound == math.inf
    assert cert.not_covered == (
        ("1", "its Lipschitz constant is one on the orbit of x alone, so that nothing is known in a neighbourhood"),
    )


@pytest.mark.parametrize("radius", [-1.0, math.nan, math.inf, "1", True])
def test_a_radius_is_a_finite_number(radius) -> None:
    with pytest.raises(ArgumentError, match="the largest"):
        certify(deep(1, 0.1), random_field(IMAGE, 1, 5, 5), radius=radius)


# ---------------------------------------------------------------------- every element


GROUPS = {"SO(2)": group.so2_group(3), "O(2)": group.o2_group(3), "SO(3)": group.so3_group(2)}


def vectors_of(name: str):
    space = gspaces.no_base_space(GROUPS[name])
    return space.type(space.irrep(1, 1) if name == "O(2)" else space.irrep(1), space.trivial_repr)


def random_elements(name: str, count: int):
    g = GROUPS[name]
    return list(g.testing_elements())[:count]


@pytest.mark.parametrize("name", list(GROUPS))
def test_the_mesh_of_a_net(name) -> None:
    field = vectors_of(name)
    x, net = random_field(field, 3).tensor.double(), Net(field)
    mesh, images = net.mesh(field, x), torch.cat(list(net.images(field, x))).view(-1, 3, field.size)
    assert bool((mesh <= 2 * x.norm(dim=1)).all())
    for element in random_elements(name, 12):
        apart = (images - act_on_fibres(element, x, field)).norm(dim=2).amin(dim=0)
        assert bool((apart <= mesh + 1e-12).all())
    still = field.gspace.type(field.gspace.trivial_repr)
    assert not net.mesh(still, x[:, :1]).any()


@pytest.mark.parametrize("name", list(GROUPS))
def test_every_element_where_layers_can_only_be_measured(name) -> None:
    field = vectors_of(name)
    g = GROUPS[name]
    frequency, samples = (1, {"type": "thomson_cube", "N": 1}) if name == "SO(3)" else (2, {"N": 16})
    function = nn.FourierELU(field.gspace, 2, g.bl_irreps(frequency), **samples)
    model = nn.SequentialModule(
        SoftLinear(field, function.in_type, softness=0.1), function, SoftLinear(function.out_type, field, softness=0.1)
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = random_field(field, 2)
    cert = certify(model, x)
    assert cert.covered == ("every element",)
    assert cert.certified
    elements = random_elements(name, 40)
    assert violations(model, x, cert, elements) == []
    if name != "SO(3)":  # three circles have a coarse mesh
        worst = max(float(measured(model, x, h).max()) for h in elements)
        assert cert.bound <= 3 * worst
