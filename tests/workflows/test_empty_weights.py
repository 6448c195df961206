"""Models that are built without memory for their parameters, which come later: accelerate, and torch's meta device."""

from __future__ import annotations

import pytest
import torch
from escnn import gspaces, nn
from torch.nn import Module

import escnn_soft as es
from tests.kinds import KINDS, value

accelerate = pytest.importorskip("accelerate")


def built_empty(kind: str) -> Module:
    with accelerate.init_empty_weights():
        model = KINDS[kind]()
    assert all(p.is_meta for p in model.parameters())
    return model


def assigned(model: Module, state: dict) -> Module:
    model.load_state_dict(state, assign=True)
    return model


def emptied(model: Module, state: dict) -> Module:
    model.to_empty(device="cpu").load_state_dict(state)
    return model


def emptied_without_bases(model: Module, state: dict) -> Module:
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    model = model.to_empty(device="cpu")
    model.load_state_dict({name: tensor for name, tensor in state.items() if name in names}, strict=False)
    return model


def one_by_one(model: Module, state: dict) -> Module:
    for name, _ in list(model.named_parameters()):
        accelerate.utils.set_module_tensor_to_device(model, name, "cpu", state[name])
    return model


@pytest.mark.parametrize("load", [assigned, emptied, emptied_without_bases, one_by_one], ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ProjectedLayer"])
def test_what_is_built_empty_computes_the_right_thing_once_it_is_loaded(kind, load) -> None:
    model = KINDS[kind]()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    for training in (True, False):
        empty = built_empty(kind).train(training)
        again = load(empty, model.state_dict())
        assert not any(p.is_meta for p in again.parameters())
        assert value(again) == pytest.approx(value(model), rel=1e-5, abs=1e-6)
    for dial, other in zip(es.layers.dials(again).values(), es.layers.dials(model).values(), strict=True):
        assert dial.softness == other.softness
        assert dial.spectrum().energy == pytest.approx(other.spectrum().energy, rel=1e-5)


def test_an_empty_layer_has_no_kernel_to_be_projected() -> None:
    with pytest.raises(es.errors.ArgumentError, match="Load its state first"):
        built_empty("ProjectedLayer")


@pytest.mark.parametrize("load", [assigned, emptied], ids=lambda f: f.__name__)
def test_a_state_of_escnns_own_layer_fills_an_empty_soft_one(load) -> None:
    field = gspaces.rot2dOnR2(4).type(gspaces.rot2dOnR2(4).regular_repr)
    hard = nn.R2Conv(field, field, 3)
    with accelerate.init_empty_weights():
        soft = es.SoftR2Conv(field, field, 3, softness=0.5)
    soft = load(soft, hard.state_dict())
    x = field(torch.randn(1, 4, 7, 7))
    assert torch.allclose(soft(x).tensor, hard(x).tensor, atol=1e-6)
