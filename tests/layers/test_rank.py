"""Layers with a rank: few numbers, and every statement of a soft layer."""

import copy
import warnings

import pytest
import torch
from escnn import nn

import escnn_soft as es
from escnn_soft.errors import ArgumentError
from escnn_soft.testing import assert_certificate_holds, assert_covariant_step, assert_keeps_symmetry
from escnn_soft.testing.moved_layers import moved_layer
from escnn_soft.training import DampedMuon, LayerwiseAdam
from escnn_soft.training.layer_parameters import layer_parameters
from tests.cases import planar, point, spatial
from tests.disturbance import disturb

C4, C8, D3 = planar("C4"), planar("C8"), point("D3")
FIELD = C4.type(*[C4.regular_repr] * 3)
IMAGE = torch.randn(2, FIELD.size, 7, 7, dtype=torch.float64)
POLICIES = [0.5, es.Exponential(0.4), es.Cutoff(2.0), es.Budget(0.2), es.Learned(0.3)]


def conv(rank: int | None = 2, softness=0.5, **arguments) -> es.SoftR2Conv:
    layer = es.SoftR2Conv(FIELD, FIELD, 3, padding=1, softness=softness, rank=rank, **arguments)
    return disturb(layer.double())


def every_kind(rank: int) -> list[es.layers.SoftLayer]:
    """One layer of each class."""
    octahedral = spatial("octahedral")
    volume = octahedral.type(*[octahedral.irrep(1)] * 2, *[octahedral.trivial_repr] * 3)
    vectors = D3.type(*[D3.regular_repr] * 2)
    rings = {"sigma": 0.5, "rings": [0.0, 1.0], "frequencies_cutoff": 1.0}
    ico = spatial("icosahedral")
    lengths = ico.type(*[ico.trivial_repr] * 2, *[ico.irrep(1)] * 2)
    return [
        es.SoftR2Conv(FIELD, FIELD, 3, rank=rank),
        es.SoftR2ConvTransposed(FIELD, FIELD, 3, rank=rank),
        es.SoftR3Conv(volume, volume, 3, rank=rank),
        es.SoftR3ConvTransposed(volume, volume, 3, rank=rank),
        es.SoftR3IcoConv(lengths, lengths, 3, rank=rank),
        es.SoftR3IcoConvTransposed(lengths, lengths, 3, rank=rank),
        es.SoftLinear(vectors, vectors, rank=rank),
        es.SoftTensorProduct(FIELD, FIELD, rank=rank),
        es.SoftR2PointConv(FIELD, FIELD, **rings, rank=rank),
        es.SoftR3PointConv(volume, volume, **rings, rank=rank),
    ]


def count(layer: torch.nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


def same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-10) -> bool:
    return bool((a - b).norm() <= tolerance * b.norm())


# ---------------------------------------------------------------------- what a rank is


def test_every_layer_takes_a_rank_and_begins_strict() -> None:
    for layer in every_kind(1):
        name = type(layer).__name__
        assert layer.rank == 1, name
        assert "softness=0.0, rank=1" in repr(layer), name
        assert layer.soft_weights.numel() < layer._transform.soft.dim, name
        kernel = layer._as_graded(layer.expand_parameters()[0])
        layer.softness = 1.0
        assert torch.allclose(layer._as_graded(layer.expand_parameters()[0]), kernel, atol=1e-5), name
        (kernel := layer.expand_parameters()[0]).square().sum().backward()
        torch.nn.init.normal_(layer.soft_weights)
        assert not torch.allclose(layer.expand_parameters()[0], kernel, atol=1e-3), name


def test_every_soft_weight_of_a_fresh_layer_gets_a_gradient() -> None:
    layer = es.SoftR2Conv(FIELD, FIELD, 3, softness=1.0, rank=2)
    layer(FIELD(IMAGE.float())).tensor.square().sum().backward()
    assert layer.soft_weights.grad.abs().min() > 0
    assert not layer.soft_out.grad.any()  # they do once soft weights have moved


def test_the_numbers_of_64_fields() -> None:
    field = C8.type(*[C8.regular_repr] * 64)
    hard = nn.R2Conv(field, field, 3, initialize=False)
    layer = es.SoftR2Conv.from_hard(hard, rank=8)
    assert layer._transform.soft.dim == 11 * hard.weights.numel()
    assert count(layer) < 1.06 * count(hard)


def test_a_rank_too_large_to_save_anything_keeps_all_coefficients() -> None:
    assert count(conv(100)) == count(conv(None))
    layer = conv(100, softness=1.0)
    torch.nn.init.normal_(layer.weights)
    assert conv(100, 1.0).load_state_dict(layer.state_dict()) is not None


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_bounds_and_certificates_hold(policy) -> None:
    for layer in (
        conv(2, policy),
        disturb(es.SoftLinear(*[D3.type(*[D3.regular_repr] * 3)] * 2, softness=policy, rank=1).double()),
    ):
        with torch.no_grad():
            layer.soft_weights.mul_(30.0)
        certificate = layer.certificate()
        assert_certificate_holds(layer, certificate=certificate)
        assert 1e-4 < certificate.relative.sup <= layer.bound() * (1 + 1e-9)


@pytest.mark.parametrize("name", ["soft_weights", "soft_out", "soft_in"])
def test_evaluation_follows_each_factor(name) -> None:
    layer = conv().eval()
    before = layer(FIELD(IMAGE)).tensor
    with torch.no_grad():
        getattr(layer, name).mul_(2.0)
    after = layer(FIELD(IMAGE)).tensor
    assert not same(after, before, 1e-3)
    assert same(after, layer.train()(FIELD(IMAGE)).tensor)


@pytest.mark.parametrize("end", [0.7, 0.5, es.Exponential(0.8), es.Cutoff(9.0), es.Learned(0.5)], ids=str)
@pytest.mark.parametrize("start", [0.5, es.Exponential(0.4), es.Cutoff(9.0), es.Budget(0.05), es.Learned(0.3)], ids=str)
def test_a_dial_turns_without_a_jump(start, end) -> None:
    layer, full = conv(2, start), conv(None, start)
    with torch.no_grad():
        full._write_soft(layer._soft_coefficients())
        full.weights.copy_(layer.weights)
        full.soft_bias.copy_(layer.soft_bias)
        full.bias.copy_(layer.bias)
    factors = layer.soft_out.clone(), layer.soft_in.clone()
    before = layer.expand_parameters()[0]
    assert same(before, full.expand_parameters()[0])
    for each in (layer, full):
        each.turn(end, keep=True)
    assert same(layer.expand_parameters()[0], full.expand_parameters()[0], 1e-9)  # as far as the softness allows it
    assert torch.equal(layer.soft_out, factors[0])
    assert torch.equal(layer.soft_in, factors[1])
    if end in (0.7, es.Cutoff(9.0)):
        assert same(layer.expand_parameters()[0], before, 1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_it_compiles_to_one_graph(training) -> None:
    layer = conv().train(training)
    compiled = torch.compile(lambda x: layer(FIELD(x)).tensor, fullgraph=True, backend="eager")
    assert same(compiled(IMAGE), layer(FIELD(IMAGE)).tensor)


def test_a_chain_and_groups_go_with_a_rank() -> None:
    for rank, arguments in ((1, {"chain": [2]}), (1, {"chain": [2], "groups": 3}), (2, {"groups": 1})):
        layer = conv(rank, 1.0, **arguments)
        certificate = layer.certificate()
        assert_certificate_holds(layer, certificate=certificate)
        half_turn = layer.in_type.fibergroup.element(2)
        assert (certificate.at(half_turn) < 1e-8) == ("chain" in arguments)


# ---------------------------------------------------------------------- checkpoints


def test_states_of_every_origin_load() -> None:
    layer = conv()
    other = conv()
    other.load_state_dict(layer.state_dict())
    assert same(other.expand_parameters()[0], layer.expand_parameters()[0])
    hard = nn.R2Conv(FIELD, FIELD, 3, padding=1)
    other.float().load_state_dict(hard.state_dict())
    assert not other.soft_weights.any()
    assert other.soft_out.all()
    assert same(other(FIELD(IMAGE.float())).tensor, hard(FIELD(IMAGE.float())).tensor, 1e-5)


def test_a_state_of_all_coefficients_is_cut_down_and_said_to_be() -> None:
    full, layer = conv(None, 1.0), conv(2, 1.0)
    with pytest.warns(UserWarning, match=r"rank=2 leaves 0\.\d+ of the norm of the soft coefficients out.*Raise rank"):
        layer.load_state_dict(full.state_dict())
    wanted, found = full.soft_weights, layer._soft_coefficients()
    assert 0.1 < (found - wanted).norm() / wanted.norm() < 1
    with torch.no_grad():
        full._write_soft(conv(2, 1.0)._soft_coefficients())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer.load_state_dict(full.state_dict())
    assert same(layer.expand_parameters()[0], full.expand_parameters()[0], 1e-6)


@pytest.mark.parametrize(("saved", "loaded"), [(2, None), (2, 1)])
def test_other_states_are_refused(saved, loaded) -> None:
    with pytest.raises(RuntimeError, match="size mismatch for soft_weights"):
        conv(loaded).load_state_dict(conv(saved).state_dict())


@pytest.mark.parametrize(
    "state",
    [lambda: conv().state_dict(), lambda: nn.R2Conv(FIELD, FIELD, 3, padding=1).double().state_dict()],
    ids=["ranked", "hard"],
)
def test_parameters_on_the_meta_device_are_filled(state) -> None:
    layer = conv()
    for name, parameter in list(layer.named_parameters(recurse=False)):
        setattr(layer, name, torch.nn.Parameter(parameter.to("meta")))
    layer.load_state_dict(state(), assign=True)
    assert all(p.isfinite().all() for p in layer.parameters())
    assert layer.soft_out.any()
    assert layer.double()(FIELD(IMAGE)).tensor.isfinite().all()


def test_copies_are_independent() -> None:
    layer = conv()
    other = copy.deepcopy(layer)
    assert other.rank == 2
    assert torch.equal(other.expand_parameters()[0], layer.expand_parameters()[0])
    with torch.no_grad():
        other.soft_out.zero_()
    assert layer.soft_out.any()


def test_a_configuration_says_the_rank() -> None:
    hard = nn.SequentialModule(nn.R2Conv(FIELD, FIELD, 3), nn.ReLU(FIELD), nn.R2Conv(FIELD, FIELD, 3))
    soft = es.soften(hard, 0.5, rank=3, per_layer={"2": {"rank": 1}})
    assert (soft[0].rank, soft[2].rank) == (3, 1)
    config = es.softness_config(soft)
    again = es.load_softness(copy.deepcopy(hard), config)
    assert (again[0].rank, again[2].rank) == (3, 1)
    again.load_state_dict(soft.state_dict())
    with pytest.raises(ArgumentError, match=r"one with \{'rank': 3\} but got layer '0'=\{'rank': 2\}"):
        es.load_softness(es.soften(hard, 0.5, rank=2), config)
    older = copy.deepcopy(es.softness_config(es.soften(hard, 0.5)))
    for entry in older["layers"].values():
        del entry["rank"]
    assert es.load_softness(copy.deepcopy(hard), older)[0].rank is None


# ---------------------------------------------------------------------- conversion


def test_from_hard_is_the_same_function() -> None:
    hard = nn.R2Conv(FIELD, FIELD, 3)
    soft = es.SoftR2Conv.from_hard(hard, 1.0, rank=2)
    assert soft.weights is hard.weights
    assert same(soft(FIELD(IMAGE.float())).tensor, hard(FIELD(IMAGE.float())).tensor, 1e-5)
    linear = nn.Linear(*[D3.type(*[D3.regular_repr] * 2)] * 2)
    assert es.SoftLinear.from_hard(linear, 1.0, rank=1).rank == 1


def test_from_dense_says_what_is_left_out() -> None:
    dense = torch.nn.Conv2d(FIELD.size, FIELD.size, 3).double()
    with pytest.warns(UserWarning, match=r"rank=2 leaves (0\.\d+) of the norm of the weight out") as record:
        soft = es.SoftR2Conv.from_dense(dense, FIELD, FIELD, rank=2)
    said = float(str(record[0].message).split()[2])
    kernel = soft.expand_parameters()[0].detach()
    assert (kernel - dense.weight.detach()).norm() / dense.weight.detach().norm() == pytest.approx(said, rel=0.05)
    soft.softness = 0.0
    whole = es.SoftR2Conv.from_dense(dense, FIELD, FIELD, softness=0.0)
    assert same(soft.expand_parameters()[0], whole.expand_parameters()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = conv(2, 1.0)
        again = es.SoftR2Conv.from_dense(exact.export(), FIELD, FIELD, rank=2)
    assert same(again.expand_parameters()[0], exact.expand_parameters()[0], 1e-6)


def test_moved_by_the_group_a_layer_keeps_its_rank() -> None:
    view = moved_layer(conv(2, 1.0))
    with torch.no_grad():
        before = view.parts()
        for element in view.elements:
            wanted = view.moved(element, before)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                view.assign(wanted)
            assert same(view.parts()[0], wanted[0])


def test_hardened_restricted_exported_and_projected() -> None:
    layer = conv(2, 0.5)
    x = FIELD(IMAGE)
    assert same(layer.export()(IMAGE), layer(x).tensor)
    hard = es.harden(layer)
    assert type(hard) is nn.R2Conv
    assert not [name for name, _ in hard.named_parameters() if "soft" in name]
    assert not vars(hard).keys() & {"_low_rank", "soft_out"}
    layer.softness = 1.0
    free = layer.restrict(2)
    assert free.rank is None
    assert same(free.expand_parameters()[0], layer.expand_parameters()[0], 1e-8)
    plain = es.projected(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = es.harden(plain)
    layer.softness = 0.0
    assert same(again.double()(x).tensor, layer(x).tensor, 1e-6)


def test_tied_layers_share_their_factors() -> None:
    model = nn.SequentialModule(nn.R2Conv(FIELD, FIELD, 3), nn.ReLU(FIELD), nn.R2Conv(FIELD, FIELD, 3))
    model[2].weights, model[2].bias = model[0].weights, model[0].bias
    soft = es.soften(model, 1.0, rank=2)
    for name, parameter in soft[0].named_parameters(recurse=False):
        assert getattr(soft[2], name) is parameter, name
    other = es.soften(model, 1.0, rank=2, per_layer={"2": {"rank": 1}})
    assert other[0].soft_weights is not other[2].soft_weights


def test_plain_layers_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"no rank where plain layers are softened.*two calls"):
        es.soften(torch.nn.Conv2d(4, 4, 3), 0.5, gspace=C4, rank=2)


# ---------------------------------------------------------------------- training


def test_the_factors_belong_to_the_weights_of_their_layer() -> None:
    layer = conv()
    (found,) = layer_parameters(layer)
    assert {id(p) for p in found.weights} == {
        id(getattr(layer, n)) for n in ("weights", "soft_weights", "soft_out", "soft_in")
    }
    assert {id(p) for p in found.strict} == {id(layer.weights), id(layer.bias)}


@pytest.mark.parametrize("optimizer", [LayerwiseAdam, DampedMuon])
def test_a_step_commutes_with_the_group_and_keeps_a_symmetry(optimizer) -> None:
    space = point("C8")
    field = space.type(*[space.trivial_repr, space.irrep(1), space.irrep(2)] * 2)
    layer = es.SoftLinear(field, field, softness=1.0, rank=2)
    assert_covariant_step(optimizer, layer)
    assert_keeps_symmetry(optimizer, layer)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, LayerwiseAdam, DampedMuon])
def test_a_breaking_task_is_learned(optimizer) -> None:
    torch.manual_seed(0)
    layer = es.SoftR2Conv(FIELD, FIELD, 3, softness=1.0, rank=2)
    target = es.SoftR2Conv.from_dense(conv(2, 1.0).float().export(), FIELD, FIELD).expand_parameters()[0].detach()
    training = optimizer(layer.parameters() if optimizer is torch.optim.Adam else layer, lr=0.02)
    losses = []
    for _ in range(150):
        training.zero_grad()
        loss = (layer.expand_parameters()[0] - target).square().sum()
        loss.backward()
        training.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
