"""Modules of the user: their constants are taken on trust, their equivariance is checked."""

from __future__ import annotations

import math

import pytest
import torch
from escnn import nn

from escnn_soft import SoftR2Conv
from escnn_soft.certification import certify, register_action, register_lipschitz
from escnn_soft.certification.rule_registry import ACTIONS, LIPSCHITZ
from escnn_soft.errors import ArgumentError
from tests.cases import planar
from tests.certification.checks import check, random_field, violations

C4 = planar("C4")
FIELD = C4.type(C4.regular_repr)


@pytest.fixture(autouse=True)
def _forget():
    before = dict(LIPSCHITZ), dict(ACTIONS)
    yield
    for registry, entries in zip((LIPSCHITZ, ACTIONS), before, strict=True):
        registry.clear()
        registry.update(entries)


class Sine(torch.nn.Module):
    def __init__(self, slope=2.0):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return x.type(torch.sin(self.slope * x.tensor))


class Lopsided(Sine):
    def forward(self, x):
        return x.type(torch.sin(x.tensor) * torch.arange(4.0).view(1, 4, 1, 1))


def body(module):
    conv = SoftR2Conv(FIELD, FIELD, 3, padding=1, softness=0.5)
    torch.nn.init.normal_(conv.soft_weights, std=0.2)
    return torch.nn.Sequential(conv, module).eval()


def test_a_registered_module_is_covered():
    x = random_field(FIELD, 2, 5, 5)
    assert certify(body(Sine()), x).not_covered == (
        ("1", "no rule for torch.sin: put it into a module and use register_lipschitz"),
    )

    @register_lipschitz(Sine)
    def sine(module, y):
        assert y.type == FIELD
        return module.slope

    for lookahead in (0, 1):
        cert = check(body(Sine()), x, lookahead=lookahead)
    assert "registered Lipschitz constants of 1" in cert.assumptions[-1]
    assert "only be measured" in certify(body(Sine()), x, lookahead=None).not_covered[0][1]


def test_a_module_that_is_not_equivariant_is_refused_with_the_figure():
    register_lipschitz(Lopsided)(lambda module, x: 3.0)
    cert = certify(body(Lopsided()), random_field(FIELD, 1, 5, 5))
    assert cert.bound == math.inf
    assert "claims to be equivariant, but" in cert.not_covered[0][1]


def test_a_subclass_with_its_own_forward_is_not_covered():
    register_lipschitz(Sine)(lambda module, x: 2.0)
    assert not certify(body(Lopsided()), random_field(FIELD, 1, 5, 5)).certified


def test_a_constant_that_is_too_small_is_found(monkeypatch):
    register_lipschitz(Sine)(lambda module, x: 0.01 * module.slope)
    model, x = body(Sine(0.5)), random_field(FIELD, 1, 5, 5)
    refused = certify(model, x, lookahead=0)
    assert refused.bound == math.inf
    assert refused.not_covered == (("model", "two outputs are further apart than its Lipschitz constant allows"),)
    monkeypatch.setattr("escnn_soft.certification.network.refusal", lambda *args: None)
    refused = certify(model, x, lookahead=0)
    assert all(layer == "model" and "exceeds the bound" in reason for layer, reason in refused.not_covered)
    monkeypatch.setattr("escnn_soft.certification.network.compare", lambda ledger, *_: (ledger.table(math.inf), {}))
    assert violations(model, x, certify(model, x, lookahead=0))


@pytest.mark.parametrize("value", [-1.0, math.inf, None])
def test_a_constant_has_to_be_a_number(value):
    register_lipschitz(Sine)(lambda module, x: value)
    cert = certify(body(Sine()), random_field(FIELD, 1, 5, 5))
    assert "register_lipschitz returns" in cert.not_covered[0][1]


def test_an_action_tells_the_type_of_the_output():
    class Other(Sine):
        def forward(self, x):
            return super().forward(x)

    register_lipschitz(Other)(lambda module, x: 2.0)
    register_action(Other)(lambda module, in_type: in_type)
    check(body(Other()), random_field(FIELD, 1, 5, 5))


@pytest.mark.parametrize("register", [register_lipschitz, register_action])
def test_wrong_registrations(register):
    register(Sine)(lambda module, x: 1.0)
    with pytest.raises(ArgumentError, match="does not know yet"):
        register(Sine)(lambda module, x: 1.0)
    with pytest.raises(ArgumentError, match=r"subclass of torch\.nn\.Module"):
        register(3)
    with pytest.raises(ArgumentError, match="a function"):
        register(nn.GroupPooling)(3)
