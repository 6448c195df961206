"""harden, soft_status, set_softness, register_soft."""

from __future__ import annotations

import copy

import pytest
import torch
from escnn import nn
from escnn.nn import Linear, R2Conv

import escnn_soft as es
from escnn_soft import SoftLinear, SoftR2Conv, harden, register_soft, set_softness, soft_status, soften
from escnn_soft.errors import ArgumentError, SoftnessError
from escnn_soft.layers import SoftLayer
from tests.convert.models import (
    HARD_LAYERS,
    POINT,
    Classifier,
    output,
    randomised,
    sequential,
)
from tests.disturbance import disturb


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("build", [sequential, Classifier])
def test_there_and_back(build, train, inplace) -> None:
    model = build()
    expected = output(model.eval())
    soft = disturb(soften(model, 0.5)).train(train)
    parameters = dict(soft.named_parameters(remove_duplicate=False))
    hard = harden(soft, inplace=inplace)
    assert (hard is soft) == inplace
    assert all(module.training == train for module in hard.modules())
    for name, parameter in hard.named_parameters(remove_duplicate=False):
        assert parameter is parameters[name]
    kinds = [[type(m) for m in net.modules() if isinstance(m, nn.EquivariantModule)] for net in (hard, model)]
    assert kinds[0] == kinds[1]
    assert set(dict(hard.named_parameters())) == set(dict(model.named_parameters()))
    for _ in range(2):  # escnn's own changes of mode
        assert (output(hard.eval()) - expected).abs().max() < 1e-6
        hard.train()
    if not inplace:
        assert all(isinstance(soft.get_submodule(n), SoftLayer) for n, m in hard.named_modules() if type(m) is R2Conv)


@pytest.mark.parametrize("train", [True, False])
def test_it_projects_onto_the_equivariant_part(train) -> None:
    soft = disturb(soften(sequential(), 0.7)).train(train)
    strict = copy.deepcopy(soft)
    set_softness(strict, 0.0)
    hard = harden(soft)
    assert torch.equal(output(hard.eval()), output(strict.eval()))
    again = soften(hard, 0.7)
    assert soft_status(again).layers[0].breaking == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", HARD_LAYERS)
def test_every_layer_there_and_back(name) -> None:
    hard = randomised(HARD_LAYERS[name]())
    x = hard.in_type(torch.randn(2, hard.in_type.size, *[5] * hard.in_type.gspace.dimensionality))
    soft = soften(hard, 0.5)
    assert torch.allclose(soft(x).tensor, hard(x).tensor, atol=1e-6)
    back = harden(disturb(soft))
    assert torch.allclose(back(x).tensor, hard(x).tensor, atol=1e-6)
    assert type(back) is type(hard)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("build", HARD_LAYERS.values(), ids=list(HARD_LAYERS))
def test_nothing_soft_is_left(build, train) -> None:
    fresh = build().train().train(train)
    soft = soften(build(), es.Learned(0.5)).train(train)
    hard = harden(soft)
    assert set(vars(hard)) == set(vars(fresh))
    for kind in ("_parameters", "_buffers", "_modules"):
        assert set(vars(hard)[kind]) == set(vars(fresh)[kind])
    assert set(hard.state_dict()) == set(fresh.state_dict())
    fresh.load_state_dict(hard.state_dict())
    copy.deepcopy(hard)  # escnn's own eval mode cannot be copied; this one can
    assert isinstance(soft, SoftLayer)
    assert soft.level_logits is not None


def test_part_of_a_model() -> None:
    soft = soften(sequential(), 0.5)
    hard = harden(soft, filter_fn=lambda module, name: name == "0")
    assert type(hard[0]) is R2Conv
    assert isinstance(hard[3], SoftR2Conv)


def test_hooks_survive_the_way_back() -> None:
    model, calls = sequential(), []
    handle = model[0].register_forward_hook(lambda module, *_: calls.append(type(module)))
    soften(model, 0.5, inplace=True)
    harden(model, inplace=True)
    output(model)
    assert calls == [R2Conv]
    handle.remove()
    output(model)
    assert len(calls) == 1


def test_status_is_one_line_a_layer() -> None:
    soft = soften(Classifier(), 0.5, per_layer={"stem": es.Cutoff(1.0)}, filter_fn=lambda m, name: name != "read")
    status = soft_status(soft)
    assert str(status).splitlines() == [
        "stem    SoftR2Conv  softness Cutoff(bound=1.0)  3 irrep_0 -> 3 regular  breaking 0.0% of energy",
        "body.0  SoftR2Conv  softness 0.5                3 regular -> 3 regular  breaking 0.0% of energy",
        "read    Linear      hard                        2 regular -> 2 regular  breaking 0.0% of energy",
    ]
    disturb(soft)
    assert 0.01 < soft_status(soft).layers[1].breaking < 1
    assert soft_status(soft) == soft_status(soft)
    assert str(soft_status(torch.nn.ReLU())) == "no steerable layers"


def test_softness_of_a_whole_model() -> None:
    soft = disturb(soften(Classifier(), 0.5)).eval()
    before = output(soft)
    set_softness(soft, 0.9, per_layer={"read": 0.0, "*": es.Cutoff(2.0)}, filter_fn=lambda m, name: name != "stem")
    assert [layer.softness for layer in soft_status(soft).layers] == [0.5, es.Cutoff(2.0), 0.0]
    assert (output(soft) - before).abs().max() > 1e-3
    softness = [layer.softness for layer in soft_status(soft).layers]
    with pytest.raises(ArgumentError, match="per_layer key='head'"):
        set_softness(soft, 0.1, per_layer={"head": 0.1})
    with pytest.raises(SoftnessError):
        set_softness(soft, 0.1, per_layer={"stem": 3})
    assert [layer.softness for layer in soft_status(soft).layers] == softness


def test_layers_of_the_users() -> None:
    class Doubled(Linear):
        """A linear layer with a matrix that is twice escnn's."""

        def __init__(self, *args, scale: float = 2.0, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            self.scale = scale

        def expand_parameters(self):
            matrix, bias = super().expand_parameters()
            return self.scale * matrix, bias

    @register_soft(Doubled, candidates=lambda layer: [{"scale": -1.0}, {"scale": layer.scale}])
    class SoftDoubled(SoftLinear, Doubled):
        @classmethod
        def from_hard(cls, layer, softness=0.0, *, scale):
            if scale < 0:
                raise ArgumentError("scale", scale, "a positive scale", "Pass another.")
            soft = super().from_hard(layer, softness)
            soft.scale = scale
            return soft.train(layer.training)

    space = POINT.type(POINT.regular_repr)
    hard = randomised(Doubled(space, space, scale=3.0))
    x = space(torch.randn(4, space.size))
    soft = soften(hard, 0.5)
    assert type(soft) is SoftDoubled
    assert torch.allclose(soft(x).tensor, hard(x).tensor, atol=1e-6)
    back = harden(disturb(soft))
    assert type(back) is Doubled
    assert back.scale == 3.0
    assert torch.allclose(back(x).tensor, hard(x).tensor, atol=1e-6)
    model = nn.SequentialModule(hard)
    with pytest.raises(ArgumentError, match="got scale=-2"):
        soften(model, 0.5, per_layer={"0": {"scale": -2.0}})
