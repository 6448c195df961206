"""torch.compile, torch.func and gradient checkpointing."""

from __future__ import annotations

import shutil

import pytest
import torch
from escnn import gspaces, nn
from escnn.nn import R2Conv
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

from escnn_soft import Budget, soften
from tests.convert.models import IMAGE, PICTURES, PLANE, Classifier, output
from tests.disturbance import disturb


def unshared(softness=0.5):
    """Without a module that is used twice: torch's functional_call corrupts those, plain ones too."""
    model = Classifier()
    model.again = R2Conv(model.again.in_type, model.again.out_type, 3, padding=1)
    return disturb(soften(model, softness))


@pytest.mark.parametrize("train", [True, False])
def test_a_network_compiles_to_one_graph(train) -> None:
    model = disturb(soften(Classifier(), 0.5)).train(train)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert (compiled(PICTURES) - model(PICTURES)).abs().max() < 1e-6
    if train:
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(compiled(PICTURES).square().sum(), parameters)
        for g, h in zip(gradients, torch.autograd.grad(model(PICTURES).square().sum(), parameters), strict=True):
            assert torch.allclose(g, h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_a_network_of_escnns_modules_compiles_between_fields(train) -> None:
    space = gspaces.rot2dOnR2(8)
    image, hidden = space.type(space.trivial_repr), space.type(space.regular_repr, space.regular_repr)
    model = nn.SequentialModule(
        R2Conv(image, hidden, 7, padding=3), nn.InnerBatchNorm(hidden), nn.ReLU(hidden),
        R2Conv(hidden, hidden, 5, padding=2), nn.InnerBatchNorm(hidden), nn.ReLU(hidden), nn.GroupPooling(hidden),
    )  # fmt: skip
    soft = disturb(soften(model, 0.3, per_layer={"0": 0.1})).train(train)
    torch._dynamo.reset()
    compiled = torch.compile(soft, fullgraph=True, backend="eager")
    x = image(torch.randn(2, 1, 9, 9))
    y = compiled(x)
    assert y.type == soft.out_type
    assert (y.tensor - soft(x).tensor).abs().max() < 1e-5


@pytest.mark.skipif(not shutil.which("g++"), reason="torch's default backend needs a C++ compiler")
def test_a_layer_compiles_with_the_default_backend() -> None:
    field = PLANE.type(PLANE.regular_repr)
    image = PLANE.type(PLANE.trivial_repr)
    layer = disturb(soften(R2Conv(image, field, 3), 0.5))
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: layer(image(x)).tensor, fullgraph=True)
    x = torch.randn(2, 1, 6, 6)
    assert (compiled(x) - layer(image(x)).tensor).abs().max() < 1e-5


def test_the_dial_can_be_turned_between_calls_of_a_compiled_model() -> None:
    layer = disturb(soften(torch.nn.Sequential(R2Conv(IMAGE, IMAGE, 3)), 0.5))
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: layer(IMAGE(x)).tensor, fullgraph=True, backend="eager")
    for softness in (0.5, 0.9, 0.0):
        layer[0].softness = softness
        assert (compiled(PICTURES) - layer(IMAGE(PICTURES)).tensor).abs().max() < 1e-6


@pytest.mark.parametrize("softness", [0.5, Budget(0.3)], ids=str)
def test_gradients_and_ensembles_by_torch_func(softness) -> None:
    model = unshared(softness)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    expected = torch.autograd.grad(output(model).square().sum(), list(model.parameters()))
    gradients = grad(lambda p: functional_call(model, p, (PICTURES,)).square().sum())(parameters)
    for g, h in zip(gradients.values(), expected, strict=True):
        assert torch.allclose(g, h, rtol=1e-4, atol=1e-5)
    single = vmap(grad(lambda p, x: functional_call(model, p, (x[None],)).square().sum()), in_dims=(None, 0))
    for g, h in zip(single(parameters, PICTURES).values(), expected, strict=True):
        assert torch.allclose(g.sum(0), h, rtol=1e-3, atol=1e-5)
    pair = {name: torch.stack([p, 2 * p]) for name, p in parameters.items()}
    ensemble = vmap(lambda p: functional_call(model, p, (PICTURES,)))(pair)
    assert torch.allclose(ensemble[0], output(model), atol=1e-5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    assert torch.allclose(ensemble[1], output(model), rtol=1e-4, atol=1e-5)


def test_torch_func_in_evaluation_mode() -> None:
    model = unshared().eval()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    before = output(model)
    gradients = grad(lambda p: functional_call(model, p, (PICTURES,)).square().sum())(parameters)
    assert all(g.abs().max() > 0 for g in gradients.values())
    assert torch.equal(output(model), before)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant) -> None:
    model = disturb(soften(Classifier(), 0.5))
    x = PICTURES.clone().requires_grad_()
    parameters = list(model.parameters())
    expected = torch.autograd.grad(model(x).square().sum(), parameters)
    checkpoint(model, x, use_reentrant=reentrant).square().sum().backward()
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert torch.equal(parameter.grad, gradient)
