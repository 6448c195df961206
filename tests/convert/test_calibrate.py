"""Calibration keeps the outputs within a tolerance, layer by layer, and reports the bounds that hold then."""

from __future__ import annotations

import pytest
import torch
from escnn import gspaces, nn

import escnn_soft as es
from escnn_soft.convert import calibrate
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import dials
from tests.disturbance import disturb

SPACE = gspaces.rot2dOnR2(4)


def plain() -> torch.nn.Module:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
    with torch.no_grad():  # the first kernel is nearly symmetric, the second is not
        net[0].weight.copy_(net[0].weight.mean((2, 3), keepdim=True) + 0.01 * net[0].weight)
    return net


X = torch.randn(4, 1, 9, 9, generator=torch.Generator().manual_seed(0))


def change(model, reference) -> float:
    with torch.no_grad():
        return float((model(X) - reference).norm() / reference.norm())


@pytest.mark.parametrize("tolerance", [0.0, 0.02, 0.3, 10.0])
def test_outputs_stay_within_the_tolerance(tolerance) -> None:
    net = plain()
    model = es.soften(net, 1.0, gspace=SPACE).train()
    found = calibrate(model, X, tolerance)
    assert model.training
    assert change(model.eval(), net(X).detach()) <= tolerance + 1e-6
    assert found.distance <= tolerance + 1e-6
    every = dials(model)
    assert [layer.name for layer in found.layers] == list(every)
    for layer, dial in zip(found.layers, every.values(), strict=True):
        assert layer.softness == dial.softness
        assert layer.bound == dial.bound()
        assert dial.certificate().relative.sup <= layer.bound + 1e-9


def test_what_costs_nothing_is_made_strict_and_the_rest_as_soft_as_it_has_to_be() -> None:
    model = es.soften(plain(), 1.0, gspace=SPACE)
    first, second = calibrate(model, X, 0.02).layers
    assert first.softness < 0.2 < second.softness
    assert calibrate(model, X, 10.0).layers[1].softness == 0.0


def test_the_function_that_is_kept_is_the_one_in_use() -> None:
    field = SPACE.type(SPACE.regular_repr)
    layer = disturb(es.SoftR2Conv(field, field, 3, softness=0.3), 1.0)
    x = field(torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0)))
    before = layer(x).tensor.detach()
    found = calibrate(layer, x, 0.05)
    assert found.layers[0].softness <= 0.3
    assert (layer(x).tensor - before).norm() <= 0.05 * before.norm() * (1 + 1e-5)


def test_steerable_networks_and_distances_of_ones_own() -> None:
    field = SPACE.type(*[SPACE.regular_repr] * 2)
    layers = [es.SoftR2Conv(field, field, 3, softness=0.5) for _ in range(2)]
    model = disturb(nn.SequentialModule(layers[0], nn.ReLU(field), layers[1]))
    x = field(torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(0)))
    assert calibrate(model, x, 0.2).distance <= 0.2
    largest = calibrate(model, x, 0.1, distance=lambda y, z: float((y.tensor - z.tensor).abs().max()), steps=3)
    assert largest.distance <= 0.1
    assert "distance of the outputs" in str(largest)


def test_what_cannot_be_calibrated_is_said_and_nothing_changes() -> None:
    model = es.soften(plain(), 0.2, gspace=SPACE)
    with pytest.raises(ArgumentError, match=r"a model with soft layers.*soften"):
        calibrate(plain(), X, 0.1)
    with pytest.raises(ArgumentError, match="tolerance=-1"):
        calibrate(model, X, -1)
    with pytest.raises(ArgumentError, match="steps=0"):
        calibrate(model, X, 0.1, steps=0)
    with pytest.raises(ArgumentError, match=r"a finite number but got distance=nan"):
        calibrate(model, X * torch.nan, 0.1)
    with pytest.raises(RuntimeError, match="channels"):
        calibrate(model, torch.zeros(1, 2, 9, 9), 0.1)
    assert {dial.softness for dial in dials(model).values()} == {0.2}

    learned = es.soften(plain(), es.Learned(), gspace=SPACE)
    with pytest.raises(ArgumentError, match=r"a plain number .* but got softness of '0'=Learned.*keep=True"):
        calibrate(learned, X, 0.1)

    class Pair(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, x):
            return self.net(x), x

    with pytest.raises(ArgumentError, match="distance="):
        calibrate(Pair(), X, 0.1)
    assert {dial.softness for dial in dials(model).values()} == {0.2}
