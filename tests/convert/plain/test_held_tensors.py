"""A filtered tensor is the one that its module holds now, whatever has been done to the module."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from escnn import gspaces
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, stateless, weight_norm

import escnn_soft as es
from escnn_soft.convert.plain.plain_dials import attach
from escnn_soft.errors import ArgumentError

C4 = gspaces.rot2dOnR2(4)
IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
SOFTNESS = [0.0, 0.3, 1.0]


def softened(softness: float = 0.3) -> nn.Sequential:
    torch.manual_seed(0)
    return es.soften(nn.Sequential(nn.Conv2d(3, 8, 3)), softness, gspace=C4)


def assert_trains(model: nn.Sequential) -> None:
    """A step changes the Parameter, and the output with it."""
    before, parameter = model(IMAGES), model[0]._parameters["weight"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    before.square().mean().backward()
    held = parameter.clone()
    optimizer.step()
    assert not torch.equal(parameter, held)
    assert not torch.equal(model(IMAGES), before)


# ---------------------------------------------------------------------- other dictionaries


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("softness", SOFTNESS)
def test_export_leaves_the_model_as_it_was(softness, train, strict) -> None:
    model = softened(softness).train(train)
    expected = model(IMAGES)
    program = torch.export.export(model, (IMAGES,), strict=strict)
    assert type(model(IMAGES)) is torch.Tensor
    assert torch.equal(model(IMAGES), expected)
    torch.testing.assert_close(program.module()(IMAGES), expected)
    assert_trains(model.train())


@pytest.mark.parametrize("softness", SOFTNESS)
def test_a_new_dictionary_is_seen(softness) -> None:
    model = softened(softness)
    conv = model[0]
    conv._parameters = dict(conv._parameters)
    conv._parameters["weight"] = nn.Parameter(torch.zeros(8, 3, 3, 3))
    assert not conv.weight.any()
    assert conv.parametrizations.weight.original is conv._parameters["weight"]
    nn.init.ones_(conv.weight)
    assert bool((conv._parameters["weight"] == 1).all())
    assert_trains(model)


def test_a_buffer_of_a_new_dictionary_is_seen() -> None:
    conv = nn.Conv2d(3, 8, 3)
    table = conv.weight.detach().clone()
    del conv.weight
    conv.register_buffer("weight", table)
    reader = copy.deepcopy(softened()[0].parametrizations.weight[0])
    attach(conv, "weight", reader, lambda *_: None)
    conv._buffers = {name: 2 * buffer for name, buffer in conv._buffers.items()}
    torch.testing.assert_close(conv.weight, reader(2 * table))


def test_copies_have_their_own_and_outlive_each_other() -> None:
    model = softened()
    again = copy.deepcopy(copy.deepcopy(model))
    nn.init.zeros_(again[0].weight)
    assert model[0].weight.any()
    del model
    gc.collect()
    assert not again[0].parametrizations.weight.original.any()
    nn.init.ones_(again[0].weight)
    assert_trains(again)


def test_a_stack_whose_module_is_gone_says_so() -> None:
    stack = softened()[0].parametrizations.weight
    parts = copy.deepcopy(stack)
    gc.collect()
    with pytest.raises(ArgumentError, match=r"module of the filtered weight, which is gone.*copy it as a whole"):
        _ = parts.original


def test_shared_modules_and_tied_tensors_go_on() -> None:
    conv, other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
    other.weight = conv.weight
    model = es.soften(nn.Sequential(conv, other, conv), 0.3, gspace=C4).eval()
    expected = model(IMAGES)
    torch.export.export(model, (IMAGES,))
    assert torch.equal(model(IMAGES), expected)
    again = copy.deepcopy(model)
    assert again[0] is again[2]
    assert again[0]._parameters["weight"] is again[1]._parameters["weight"]
    assert_trains(again.train())


def test_replicas_use_what_they_were_given() -> None:
    """What ``DataParallel`` does on each device: modules with the same content, and plain tensors for Parameters."""
    model = softened()
    conv = model[0]
    replica = conv._replicate_for_data_parallel()
    stacks = conv.parametrizations._replicate_for_data_parallel()
    stacks._modules["weight"] = conv.parametrizations.weight._replicate_for_data_parallel()
    replica._modules["parametrizations"] = stacks
    doubled = {name: 2 * parameter for name, parameter in conv._parameters.items()}
    for name, tensor in doubled.items():
        setattr(replica, name, tensor)
    torch.testing.assert_close(replica(IMAGES), 2 * conv(IMAGES))
    replica(IMAGES).sum().backward()
    assert conv._parameters["weight"].grad is not None


@pytest.mark.filterwarnings("ignore:.*stateless.functional_call")
def test_functional_calls_go_through_the_filter() -> None:
    model, other = softened().eval(), copy.deepcopy(softened()).eval()
    nn.init.normal_(other[0].weight)
    for call in (torch.func.functional_call, stateless.functional_call):
        assert torch.equal(call(model, dict(other.named_parameters()), (IMAGES,)), other(IMAGES))
    assert not torch.equal(model(IMAGES), other(IMAGES))


# ---------------------------------------------------------------------- tools that take a tensor out


TAKERS = {
    "l1": lambda conv: prune.l1_unstructured(conv, "weight", 0.5),
    "random": lambda conv: prune.random_unstructured(conv, "weight", 0.5),
    "ln": lambda conv: prune.ln_structured(conv, "weight", 0.5, n=2, dim=0),
    "identity": lambda conv: prune.identity(conv, "weight"),
    "mask": lambda conv: prune.custom_from_mask(conv, "weight", torch.ones(8, 3, 3, 3)),
    "global": lambda conv: prune.global_unstructured([(conv, "weight")], prune.L1Unstructured, amount=0.5),
    "weight_norm": weight_norm,
    "spectral_norm": spectral_norm,
    "del": lambda conv: delattr(conv, "weight"),
}


@pytest.mark.filterwarnings("ignore:.*_norm.*deprecated")
@pytest.mark.parametrize("softness", SOFTNESS)
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_what_takes_the_tensor_out_is_refused_before_anything_changes(take, softness) -> None:
    model = softened(softness)
    expected, state = model(IMAGES), model.state_dict()
    with pytest.raises(ArgumentError, match=r"Conv2d.weight.*Bake or harden the model first"):
        take(model[0])
    assert torch.equal(model(IMAGES), expected)
    assert list(model.state_dict()) == list(state)
    assert not model[0]._forward_pre_hooks
    baked = es.bake(model)
    take(baked[0])


def test_tensors_without_a_filter_are_pruned_as_ever() -> None:
    model = softened()
    prune.l1_unstructured(model[0], "bias", 0.5)
    assert int((model[0].bias == 0).sum()) == 4
    del model[0].bias


# ---------------------------------------------------------------------- parametrizations before and after


class Outer(nn.Module):
    """A weight of rank one, of two originals."""

    def forward(self, left, right):
        return (left[:, None] * right).view(8, 3, 3, 3)

    def right_inverse(self, weight):
        return weight[:, 0, 0, 0].clone(), weight[0].flatten().clone()


def outer(conv: nn.Conv2d) -> nn.Conv2d:
    parametrize.register_parametrization(conv, "weight", Outer())
    return conv


BEFORE = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "outer": outer,
}


@pytest.mark.parametrize("softness", [*SOFTNESS, es.Budget(0.2), es.Learned(0.3)], ids=str)
@pytest.mark.parametrize("put", BEFORE.values(), ids=BEFORE)
def test_a_filter_comes_after_what_is_there(put, softness) -> None:
    torch.manual_seed(0)
    model = es.soften(nn.Sequential(put(nn.Conv2d(3, 8, 3))), softness, gspace=C4)
    model(IMAGES).square().sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "original" in name)
    model.eval()
    (dial,) = es.dials(model).values()
    assert not dial.closed
    assert dial.certificate().relative.sup <= dial.bound() + 1e-6
    if softness == 0.0:
        assert (model(IMAGES).rot90(1, (2, 3)) - model(IMAGES.rot90(1, (2, 3)))).abs().max() < 1e-5
    assert "Conv2d" in str(es.soft_status(model, IMAGES.shape))
    assert torch.equal(copy.deepcopy(model)(IMAGES), model(IMAGES))
    for verb in (es.bake, es.harden):
        with pytest.raises(ArgumentError, match="Take off the other parametrizations first"):
            verb(model)


@pytest.mark.parametrize(
    "put", [parametrizations.weight_norm, parametrizations.orthogonal], ids=["weight", "orthogonal"]
)
def test_what_cannot_come_after_a_filter_is_refused(put) -> None:
    model = softened()
    expected = model(IMAGES)
    with pytest.raises(ArgumentError, match=r"can go through after its filter.*Register it before soften"):
        put(model[0])
    assert torch.equal(model(IMAGES), expected)


def test_what_can_come_after_a_filter_does() -> None:
    model = softened(0.0)
    parametrizations.spectral_norm(model[0])
    assert (model(IMAGES).rot90(1, (2, 3)) - model(IMAGES.rot90(1, (2, 3)))).abs().max() < 1e-5
    assert_trains(model)
