"""Layers that relax to a subgroup, and layers restricted to one."""

import copy
import itertools

import pytest
import torch
from escnn import nn

from escnn_soft import (
    Budget,
    Cutoff,
    Learned,
    SoftLinear,
    SoftR2Conv,
    SoftR2ConvTransposed,
    SoftR3Conv,
    SoftR3ConvTransposed,
    SoftR3IcoConv,
    SoftTensorProduct,
    certificate,
    harden,
    project_after_step,
    projected,
    restrict,
    soft_status,
    soften,
)
from escnn_soft.errors import ArgumentError, SoftnessError
from tests.cases import planar, point, small_types, spatial
from tests.certification.checks import check, random_field, shake
from tests.disturbance import disturb
from tests.reference import fibre_action, pixel_action

D4 = planar("D4")
FIELD = D4.type(D4.regular_repr, D4.trivial_repr)
PAIR = D4.type(*[D4.regular_repr] * 2)
ROTATIONS, HALF_TURN, NOTHING, MIRROR = (None, 4), (None, 2), (None, 1), (0, 1)
POINT = point("D4").type(point("D4").regular_repr, point("D4").irrep(1, 1))
CUBE = small_types(spatial("octahedral"))
AXIAL = small_types(spatial("cone D4"))

LAYERS = {
    "linear": lambda **a: SoftLinear(POINT, POINT, **a),
    "convolution": lambda **a: SoftR2Conv(FIELD, FIELD, 3, padding=1, **a),
    "even": lambda **a: SoftR2Conv(FIELD, FIELD, 4, stride=2, bias=False, **a),
    "cut off": lambda **a: SoftR2Conv(FIELD, FIELD, 5, frequencies_cutoff=1.0, rings=[0.0, 2.0], sigma=[0.5, 0.6], **a),
    "grouped": lambda **a: SoftR2Conv(PAIR, D4.type(*[D4.irrep(1, 1)] * 2), 3, groups=2, **a),
    "transposed": lambda **a: SoftR2ConvTransposed(FIELD, D4.type(D4.irrep(1, 1)), 3, stride=2, output_padding=1, **a),
    "product": lambda **a: SoftTensorProduct(PAIR, PAIR, **a),
    "space": lambda **a: SoftR3Conv(*AXIAL, 3, padding=1, **a),
    "transposed in space": lambda **a: SoftR3ConvTransposed(*AXIAL, 3, stride=2, **a),
}  # fmt: skip


def make(name, chain=(ROTATIONS,), softness=1.0, **further):
    layer = LAYERS[name](softness=softness, chain=None if chain is None else list(chain), **further)
    disturb(layer, 1.0)
    return layer


def elements(layer, subgroup):
    sub, lift, _ = layer.in_type.fibergroup.subgroup(subgroup)
    return [lift(h) for h in sub.elements]


def sides(layer) -> tuple[int, ...]:
    return (5,) * layer.in_type.gspace.dimensionality


@pytest.mark.parametrize("name", LAYERS)
def test_the_subgroup_is_exact_and_the_rest_is_soft(name) -> None:
    layer = make(name).double()
    cert = certificate(layer)
    kept = [str(g) for g in elements(layer, ROTATIONS)]
    for g in layer.in_type.fibergroup.elements:
        if str(g) in kept:
            assert cert.at(g) < 1e-7 * cert.norm  # the square root of what rounds in its square
        else:
            assert cert.at(g) > 0.1
    layer.softness = 0.0
    assert certificate(layer).relative.sup < 1e-7


@pytest.mark.parametrize("subgroup", [ROTATIONS, HALF_TURN, MIRROR, (1, 2)], ids=str)
def test_softness_1_is_every_equivariant_layer_of_the_subgroup(subgroup) -> None:
    dense, layer = torch.nn.Conv2d(FIELD.size, FIELD.size, 3).double(), SoftR2Conv(FIELD, FIELD, 3)
    group, shape = elements(layer, subgroup), (FIELD.size, FIELD.size, -1)
    trivial = D4.type(D4.trivial_repr)
    with torch.no_grad():
        kernel = dense.weight.reshape(shape)
        kernel = sum(pixel_action(h, kernel, FIELD, FIELD, 3) for h in group) / len(group)
        bias = sum(fibre_action(h, dense.bias[:, None, None], trivial, FIELD) for h in group) / len(group)
        averaged = copy.deepcopy(dense)
        averaged.weight.copy_(kernel.reshape(dense.weight.shape))
        averaged.bias.copy_(bias.flatten())
    for conv in (averaged, dense):  # what breaks the subgroup is dropped
        soft = SoftR2Conv.from_dense(conv, FIELD, FIELD, chain=[subgroup])
        kernel, bias = soft.expand_parameters()
        assert (kernel - averaged.weight).abs().max() < 1e-10
        assert (bias - averaged.bias).abs().max() < 1e-10
    matrix = torch.nn.Linear(POINT.size, POINT.size).double()
    soft = SoftLinear.from_dense(matrix, POINT, POINT, chain=[subgroup])
    mean = sum(fibre_action(h, matrix.weight[:, :, None], POINT, POINT) for h in group) / len(group)
    assert (soft.expand_parameters()[0] - mean[:, :, 0]).abs().max() < 1e-10


def test_error_grows_stage_by_stage_along_a_chain() -> None:
    layer = make("convolution", [ROTATIONS, HALF_TURN, NOTHING]).double()
    group = layer.in_type.fibergroup.elements
    places = [level.dial for level in layer.spectrum().levels]
    errors = []
    for place in places:
        layer.softness = Cutoff(place)
        errors.append([certificate(layer).at(g) for g in group])
    for earlier, later in itertools.pairwise(errors):
        assert all(a <= b + 1e-7 for a, b in zip(earlier, later, strict=True))
    stages = [level.stage for level in layer.spectrum().levels]
    for subgroup, stage in ((ROTATIONS, 0), (HALF_TURN, 1)):
        kept = [group.index(h) for h in elements(layer, subgroup)]
        for row, reached in zip(errors, stages, strict=True):
            assert (max(row[i] for i in kept) < 1e-6) == (reached <= stage)


@pytest.mark.parametrize("softness", [0.0, 0.4, 1.0, Budget(0.1), Learned()], ids=str)
def test_every_policy_keeps_the_subgroup(softness) -> None:
    layer = make("convolution", softness=softness).double()
    cert = certificate(layer)
    assert max(cert.at(h) for h in elements(layer, ROTATIONS)) < 1e-7 * cert.norm
    if isinstance(softness, Budget):
        assert cert.relative.sup == pytest.approx(0.1, rel=1e-6)
    torch.optim.SGD(layer.parameters(), lr=0.1).zero_grad()
    layer(random_field(FIELD, 2, 5, 5, dtype=torch.float64)).tensor.square().sum().backward()
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.grad is not None:
                parameter.sub_(1e-3 * parameter.grad)
    cert = certificate(layer)
    assert max(cert.at(h) for h in elements(layer, ROTATIONS)) < 1e-7 * cert.norm


@pytest.mark.parametrize("name", ["C8", "SO(2)"])
def test_a_subgroup_on_the_grid_of_a_group_that_leaves_it(name) -> None:
    space = planar(name)
    field = space.type(space.irrep(1), space.trivial_repr)
    layer = SoftR2Conv(field, field, 3, softness=1.0, chain=[4]).double()
    disturb(layer, 1.0)
    cert = certificate(layer)
    group = elements(layer, 4)
    kernel = layer.expand_parameters()[0].reshape(field.size, field.size, -1)
    for h in group:
        assert (pixel_action(h, kernel, field, field, 3) - kernel).abs().max() < 1e-12
        assert cert.operator_at(h) < 1e-10
    layer.softness = 0.0
    assert certificate(layer).relative.sup < 1e-7


def test_networks_are_exact_under_the_subgroup() -> None:
    image = D4.type(D4.trivial_repr)
    hidden = D4.type(D4.regular_repr)
    modules = nn.R2Conv(image, hidden, 3, padding=1), nn.ReLU(hidden), nn.R2Conv(hidden, hidden, 3, padding=1)
    model = soften(nn.SequentialModule(*modules).double(), 1.0, chain=[ROTATIONS])
    shake(model)
    cert = check(model, random_field(image, 2, 7, 7, dtype=torch.float64))
    kept = [str(h) for h in elements(model[0], ROTATIONS)]
    for g in D4.fibergroup.elements:
        assert (cert.at(g) < 1e-9) == (str(g) in kept)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("chain", [None, [ROTATIONS, HALF_TURN]], ids=str)
@pytest.mark.parametrize("name", [name for name in LAYERS if "space" not in name])
def test_restriction_keeps_the_function(name, chain, dtype, tolerance) -> None:
    layer = make(name, (ROTATIONS,) if chain is None else chain, softness=0.7).to(dtype)
    layer.weights.requires_grad_(name != "linear")
    small = layer.restrict(ROTATIONS)
    assert type(small) is type(layer)
    assert small.in_type == layer.in_type.restrict(ROTATIONS)
    assert small.weights.dtype == dtype
    assert small.training
    assert small.weights.requires_grad == layer.weights.requires_grad
    assert small.chain is None
    x = torch.randn(2, layer.in_type.size, *sides(layer), dtype=dtype)
    expected = layer(layer.in_type(x)).tensor
    scale = expected.abs().max()
    assert (small(small.in_type(x)).tensor - expected).abs().max() < tolerance * scale
    exact = layer.restrict(ROTATIONS, chain=[small.in_type.fibergroup.subgroup_self_id])
    if chain is None:  # nothing to drop: the layer keeps the subgroup
        assert (exact(small.in_type(x)).tensor - expected).abs().max() < tolerance * scale
    disturb(exact, 1.0)
    assert certificate(exact).relative.sup < 1e-3


def test_training_goes_on_with_the_subgroup_exact() -> None:
    layer = make("convolution").double()
    small = layer.restrict(ROTATIONS, chain=[4])
    x = torch.randn(2, FIELD.size, 5, 5, dtype=torch.float64)
    optimizer = torch.optim.SGD(small.parameters(), lr=0.01)
    before = certificate(layer).at(elements(layer, (0, 1))[1])
    for _ in range(3):
        optimizer.zero_grad()
        small(small.in_type(x)).tensor.square().mean().backward()
        optimizer.step()
    cert = certificate(small)
    assert before > 0.1
    assert max(cert.at(g) for g in small.in_type.fibergroup.elements) < 1e-7 * cert.norm


@pytest.mark.parametrize(("subgroup", "kept"), [("octa", "octa"), ((False, 4), 4)])
def test_restriction_in_space_keeps_the_function(subgroup, kept) -> None:
    space = spatial("SO(3)")
    field = space.type(space.trivial_repr, space.irrep(1))
    for kind in (SoftR3Conv, SoftR3ConvTransposed):
        layer = kind(field, field, 3, padding=1, softness=1.0, chain=[subgroup]).double()
        disturb(layer, 1.0)
        x = torch.randn(1, 4, 5, 5, 5, dtype=torch.float64)
        expected = layer(field(x)).tensor
        for small in (layer.restrict(subgroup), layer.restrict(subgroup, chain=[kept])):
            assert small.in_type.fibergroup.name != "SO(3)"
            assert (small(small.in_type(x)).tensor - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_escnns_layers_are_restricted(softness) -> None:
    hard = nn.R2Conv(FIELD, FIELD, 5, padding=2, frequencies_cutoff=2.0).double().eval()
    small = restrict(hard, MIRROR, softness)
    x = torch.randn(1, FIELD.size, 6, 6, dtype=torch.float64)
    assert isinstance(small, SoftR2Conv)
    assert not small.training
    # escnn's filters keep their float32 rounding
    assert (small(small.in_type(x)).tensor - hard(FIELD(x)).tensor).abs().max() < 1e-5
    model = nn.SequentialModule(nn.RestrictionModule(FIELD, MIRROR), small)
    assert model(FIELD(x)).type == small.out_type


def test_copies_checkpoints_and_exports() -> None:
    layer = make("convolution", [ROTATIONS, HALF_TURN], softness=0.5)
    x = random_field(FIELD, 2, 5, 5)
    expected = layer(x).tensor
    other = LAYERS["convolution"](softness=0.5, chain=[ROTATIONS, HALF_TURN])
    other.load_state_dict(layer.state_dict())
    assert other.chain == layer.chain == (ROTATIONS, HALF_TURN)
    assert "chain=[(None, 4), (None, 2)]" in repr(layer)
    for twin in (other, copy.deepcopy(layer), copy.deepcopy(layer).eval()):
        assert (twin(x).tensor - expected).abs().max() < 1e-6
    assert (layer.export()(x.tensor) - expected).abs().max() < 1e-5
    hard = harden(layer)
    assert type(hard) is nn.R2Conv
    assert not hasattr(hard, "_chain")
    layer.softness = 0.0
    assert (hard(x).tensor - layer(x).tensor).abs().max() < 1e-6


def test_projected_training_stays_in_the_subgroup() -> None:
    model = projected(make("convolution"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    handle = project_after_step(model, optimizer)
    model(random_field(FIELD, 2, 5, 5)).tensor.square().mean().backward()
    optimizer.step()
    cert = certificate(model.dense, FIELD, FIELD)
    rotations = elements(model, ROTATIONS)
    assert max(cert.at(h) for h in rotations) < 1e-3 * cert.norm
    assert cert.relative.sup > 0.1
    handle.remove()


def test_whole_models_relax_to_a_subgroup() -> None:
    image, hidden = D4.type(D4.trivial_repr), D4.type(D4.regular_repr)
    model = nn.SequentialModule(nn.R2Conv(image, hidden, 5, frequencies_cutoff=1.0), nn.R2Conv(hidden, hidden, 3))
    soft = soften(model, 0.5, chain=[ROTATIONS], per_layer={"1": {"softness": 0.2, "chain": [MIRROR]}})
    assert [layer.chain for layer in soft] == [(ROTATIONS,), (MIRROR,)]
    assert [layer.softness for layer in soft] == [0.5, 0.2]
    assert [line.split("  ")[2] for line in str(soft_status(soft)).splitlines()] == [
        "softness 0.5 chain [(None, 4)]",
        "softness 0.2 chain [(0, 1)]",
    ]
    x = image(torch.randn(1, 1, 9, 9))
    assert (soft(x).tensor - model(x).tensor).abs().max() < 1e-5
    with pytest.raises(ArgumentError, match=r"knows no subgroup 3 of D4"):
        soften(model, 0.5, chain=[3])
    assert type(model[0]) is nn.R2Conv


def test_refusals() -> None:
    layer = make("convolution")
    before = layer.soft_weights.clone()
    with pytest.raises(ArgumentError, match=r"to which escnn can restrict .* got subgroup=7"):
        layer.restrict(7)
    with pytest.raises(ArgumentError, match=r"knows no subgroup \(None, 4\) of C4"):
        layer.restrict(ROTATIONS, chain=[ROTATIONS])
    with pytest.raises(SoftnessError, match="softness=2"):
        layer.restrict(ROTATIONS, softness=2)
    with pytest.raises(ArgumentError, match=r"Octahedral.*keeps subgroups that have no gspace"):
        SoftR3Conv(*CUBE, 3).restrict((False, 4))
    with pytest.raises(ArgumentError, match="a model with hard steerable layers"):
        restrict(nn.ReLU(FIELD), ROTATIONS)
    with pytest.raises(ArgumentError, match="Pass one layer"):
        restrict(nn.SequentialModule(nn.R2Conv(FIELD, FIELD, 3)), ROTATIONS)
    assert torch.equal(layer.soft_weights, before)


def test_icosahedral_layers_relax() -> None:
    space = spatial("icosahedral")
    field = space.type(space.trivial_repr, space.irrep(1))
    layer = SoftR3IcoConv(field, field, 3, softness=1.0, chain=[(False, 5)]).double()
    disturb(layer, 1.0)
    cert = certificate(layer)
    assert cert.relative.sup > 0.01
    assert max(cert.at(h) for h in elements(layer, (False, 5))) < 1e-7 * cert.norm
