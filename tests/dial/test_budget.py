"""Budgets hold at every step, and gains that are learned or scheduled do what they say."""

import copy
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from escnn_soft import (
    Budget,
    CosineSchedule,
    Cutoff,
    Learned,
    LinearSchedule,
    SoftLinear,
    SoftnessScheduler,
    SoftR2Conv,
)
from tests.cases import field_types, planar, point
from tests.disturbance import disturb

CONVOLUTIONS = ["C4", "D4", "flip diagonal", "C8", "D6", "SO(2)", "O(2)"]
MATRICES = ["C5", "D4", "SO(2)", "O(2)", "SO(3)", "octahedral", "cylinder"]


def build(name: str, policy, dtype=torch.float32):
    torch.manual_seed(0)
    if name in MATRICES and name not in CONVOLUTIONS:
        return SoftLinear(*field_types(point(name))[2], softness=policy).to(dtype)
    return SoftR2Conv(*field_types(planar(name))[2], 3, padding=1, softness=policy).to(dtype)


@cache
def cached(name: str):
    return build(name, 0.0, torch.float64)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, torch.float32) for name in ("C4", "D4", "C8", "SO(2)", "SO(3)")]
    + [(name, torch.float64) for name in ("C4", "O(2)")],
)
def test_an_optimiser_that_maximises_the_error_stays_within_the_budget(name, dtype) -> None:
    layer = disturb(build(name, Budget(0.1), dtype), 1e-3)  # exactly symmetric weights have no gradient to follow
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    for step in range(100):
        optimiser.zero_grad()
        kernel, bias = layer.expand_parameters()
        breaking = layer._soft(0).analysis(kernel)
        loss = -breaking.square().sum() / kernel.square().sum()
        if layer.soft_bias is not None:
            loss = loss - layer._soft(1).analysis(bias[:, None, None]).square().sum()
        loss.backward()
        optimiser.step()
        if step % 8 not in (0, 3):
            continue
        certificate = layer.certificate()
        assert certificate.relative.sup <= 0.1 * (1 + 1e-5)
        assert certificate.bias is None or certificate.bias.relative.sup <= 0.1 * (1 + 1e-5)
    assert certificate.relative.sup > 0.099  # it tried


@pytest.mark.parametrize("name", ["C4", "C8", "SO(3)"])
def test_the_same_optimiser_leaves_the_budget_without_one(name) -> None:
    layer = build(name, 1.0)
    disturb(layer, 1.0)
    assert layer.certificate().relative.sup > 0.1


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *MATRICES])
@given(eta=st.floats(0, 2), scale=st.sampled_from([0.0, 1e-4, 0.1, 1.0, 100.0]))
def test_a_budget_holds_for_any_weights(name, eta, scale) -> None:
    layer = cached(name)
    layer.softness = Budget(eta)
    disturb(layer, scale)
    certificate = layer.certificate()
    assert certificate.relative.sup <= eta * (1 + 1e-9) + 1e-9
    assert certificate.bias is None or certificate.bias.relative.sup <= eta * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize(
    ("dtype", "etas"),
    [(torch.float32, (1e-6, 1e-4, 0.01, 0.3)), (torch.bfloat16, (0.1, 0.3)), (torch.float64, (1e-9,))],
)
@pytest.mark.parametrize("name", ["C4", "C8", "SO(2)", "SO(3)", "octahedral"])
def test_a_budget_holds_at_every_scale_and_precision(name, dtype, etas) -> None:
    """1e-21 squared is subnormal in single precision; strict and soft parts of very different size round each other."""
    layer = build(name, 0.0, dtype)
    for eta in etas:
        layer.softness = Budget(eta)
        for strict, soft in [(1e3, 1e-3), (1e-3, 1e3), (1e-21, 1e-17), (1e-17, 1e-21), (1e-20, 1e-20), (1e18, 1e18)]:
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.normal_().mul_(soft)
                layer.weights.normal_().mul_(strict)
            assert layer.certificate().relative.sup <= eta * (1 + 1e-5), (eta, strict, soft)


@pytest.mark.parametrize("name", ["C4", "C8", "SO(3)"])
def test_weights_within_the_budget_are_left_alone(name) -> None:
    layer = build(name, Budget(0.5), torch.float64)
    disturb(layer, 1e-3)
    kernel = layer.expand_parameters()[0]
    layer.softness = 1.0
    assert (layer.expand_parameters()[0] - kernel).abs().max() < 1e-15


@pytest.mark.parametrize("name", ["C4", "C8", "O(2)"])
def test_gradients_of_a_budget_are_right(name) -> None:
    layer = build(name, Budget(0.1), torch.float64)
    disturb(layer, 1.0)
    soft = layer.soft_weights
    loss, direction, step = layer.expand_parameters()[0].pow(3).sum(), torch.randn_like(soft), 1e-6
    (gradient,) = torch.autograd.grad(loss, soft)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            soft.add_(sign * step * direction)
            values.append(float(layer.expand_parameters()[0].pow(3).sum()))
            soft.sub_(sign * step * direction)
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient @ direction), rel=1e-5)


def test_fresh_layers_have_gradients_under_a_budget() -> None:
    layer = build("C4", Budget(0.1))
    x = layer.in_type(torch.randn(1, layer.in_type.size, 5, 5))
    layer(x).tensor.square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad.isfinite().all()
    assert layer.soft_weights.grad.norm() > 0


def test_learned_gains_are_trained_saved_and_reported() -> None:
    layer = build("C4", Learned(0.3), torch.float64)
    disturb(layer, 1.0)
    logits = layer.level_logits.detach().clone()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(
        layer.in_type(torch.randn(1, layer.in_type.size, 5, 5, dtype=torch.float64))
    ).tensor.square().mean().backward()
    optimiser.step()
    assert (layer.level_logits - logits).abs().max() > 1e-6
    gains = [level.gain for level in layer.spectrum().levels]
    kernel_levels = len(gains) - 1
    assert gains[0] == 1.0
    assert gains[1:] == pytest.approx(layer.level_logits.sigmoid()[:kernel_levels].tolist())
    twin = build("C4", Learned(0.9), torch.float64)
    twin.load_state_dict(layer.state_dict())
    assert (twin.expand_parameters()[0] - layer.expand_parameters()[0]).abs().max() < 1e-12
    assert (copy.deepcopy(layer).level_logits == layer.level_logits).all()
    kernel = layer.eval().filter.clone()
    with torch.no_grad():
        layer.level_logits.add_(1.0)
    assert (layer.eval().filter - kernel).abs().max() > 1e-3


def test_changing_the_policy_takes_the_learned_gains_along() -> None:
    layer = build("C4", Learned(0.3))
    layer.softness = Learned(0.3)  # the same policy: nothing changes
    assert layer.level_logits.sigmoid().detach() == pytest.approx(torch.full_like(layer.level_logits, 0.3).detach())
    layer.softness = Learned(0.8)
    assert layer.level_logits.sigmoid().detach() == pytest.approx(torch.full_like(layer.level_logits, 0.8).detach())
    layer.softness = 0.5
    assert layer.level_logits is None
    assert "level_logits" not in layer.state_dict()


def test_budgets_report_their_gains() -> None:
    layer = build("C4", Budget(0.1), torch.float64)
    disturb(layer, 1.0)
    levels = layer.spectrum().levels
    breaking = {level.gain for level in levels if level.sigma > 0}
    assert len(breaking) == 1
    assert 0 < breaking.pop() < 1
    assert all(level.gain == 1.0 for level in levels if level.sigma == 0)  # the remainder that breaks nothing
    layer.softness = Budget(0.0)
    assert layer.certificate().relative.sup < 1e-14


def test_schedules() -> None:
    linear, cosine = LinearSchedule(1.0, 0.2, steps=4), CosineSchedule(1.0, 0.2, steps=4)
    assert [linear(step).softness for step in (0, 1, 4, 9)] == pytest.approx([1.0, 0.8, 0.2, 0.2])
    assert [cosine(step).softness for step in (0, 2, 4)] == pytest.approx([1.0, 0.6, 0.2])
    assert cosine(1).softness > linear(1).softness
    assert LinearSchedule(2.0, 0.0, 2, policy=Cutoff)(1) == Cutoff(1.0)


def test_a_scheduler_follows_torchs_conventions() -> None:
    layers = torch.nn.ModuleList([build("C4", 0.0), build("SO(3)", 0.0)])
    scheduler = SoftnessScheduler(layers, lambda step: 1 / (1 + step))
    assert [layer.softness for layer in layers] == [1.0, 1.0]
    scheduler.step()
    scheduler.step()
    assert scheduler.get_last_softness() == pytest.approx(1 / 3)
    assert scheduler.last_epoch == 2
    resumed = SoftnessScheduler(layers, lambda step: 1 / (1 + step))
    assert layers[0].softness == 1.0
    resumed.load_state_dict(scheduler.state_dict())
    assert [layer.softness for layer in layers] == pytest.approx([1 / 3, 1 / 3])
    resumed.step()
    assert layers[1].softness == 0.25
    assert SoftnessScheduler(layers, lambda step: Budget(0.1), last_epoch=4).last_epoch == 5
    assert layers[0].softness == Budget(0.1)


def test_without_symmetric_weights_nothing_is_allowed() -> None:
    layer = build("C4", Budget(0.1), torch.float64)
    with torch.no_grad():
        layer.weights.zero_()
    disturb(layer, 1.0)
    kernel = layer.expand_parameters()[0]
    (gradient,) = torch.autograd.grad(kernel.sum(), layer.soft_weights)
    assert gradient.isfinite().all()
    assert layer.certificate().relative.sup <= 0.1 * (1 + 1e-9)
