"""DampedMuon moves the kernel, whatever coordinates it has, and is a real optimiser of torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.utils.parametrize import register_parametrization
from torch.utils._python_dispatch import TorchDispatchMode

import escnn_soft as es
from escnn_soft.groups import orthogonal_group, vector
from escnn_soft.layers import graded_kernel
from escnn_soft.training import DampedMuon, LayerwiseAdam
from escnn_soft.training.kernel_map import CoefficientMap, DenseMap
from tests.training.models import HIDDEN, descend, equal, network
from tests.training.test_orthogonal import slow
from tests.workflows.carriers import CARRIERS

EXACT = ["R2Conv D4", "R2ConvTransposed D4", "Linear SO(3) product", "TensorProduct D3"]


def opened(kind: str):
    layer = CARRIERS[kind]().double()
    layer.softness = 1.0
    return layer


def coefficient_gradients(layer):
    """The gradient of <W, G>: G as the kernel has it, and what comes to the coefficients."""
    kernel = layer._as_graded(layer.expand_parameters()[0])
    gradient = torch.randn_like(kernel)
    (kernel * gradient).sum().backward()
    return gradient, [layer.weights.grad, layer.soft_weights.grad]


def kernel_change(layer, rule, coordinates):
    """What a rule applied to coordinates, added to the coefficients, does to the kernel."""
    parameters = layer.weights, layer.soft_weights
    before = layer._as_graded(layer.expand_parameters()[0]).detach()
    changes = CoefficientMap.of(layer, parameters).applied(rule, coordinates)
    with torch.no_grad():
        for parameter, change in zip(parameters, changes, strict=True):
            parameter += change
    return layer._as_graded(layer.expand_parameters()[0]) - before


@pytest.mark.parametrize("kind", EXACT)
def test_the_rule_gets_the_gradient_of_the_kernel_and_its_step_is_the_kernels(kind) -> None:
    layer = opened(kind)
    gradient, coordinates = coefficient_gradients(layer)
    step = torch.randn_like(gradient)

    def rule(matrix):
        assert torch.allclose(matrix, gradient.flatten(1), atol=1e-9)
        return step.flatten(1)

    assert torch.allclose(kernel_change(layer, rule, coordinates), step, atol=1e-9)


@pytest.mark.parametrize("kind", EXACT)
def test_the_rule_sees_a_level_twice_through_its_gain_and_so_does_its_step(kind) -> None:
    layer = opened(kind)
    layer.softness = es.Exponential(0.5)
    gradient, coordinates = coefficient_gradients(layer)
    dial = layer._dials[0]
    twice = dial.graded.filtered(gradient, dial.static**2)

    def rule(matrix):
        assert torch.allclose(matrix, twice.flatten(1), atol=1e-9)
        return gradient.flatten(1)

    assert torch.allclose(kernel_change(layer, rule, coordinates), twice, atol=1e-9)


@pytest.mark.parametrize("softness", [es.Exponential(0.5), 0.5])
def test_a_dense_weight_goes_through_its_dial_there_and_back(softness) -> None:
    V = vector(orthogonal_group(3))
    layer = es.SoftMatrixLinear(2 * V, V, bias=False, softness=softness).double()
    dial, gradient = layer._dials[0], torch.randn(3, 6, dtype=torch.float64)
    (step,) = DenseMap(layer.weight, dial).applied(lambda matrix: 2 * matrix, [gradient])
    assert torch.allclose(step, 2 * dial.here.filtered(gradient, dial.static**2))


@pytest.mark.parametrize("kind", [*EXACT, "R2Conv C8", "R3Conv SO(3)"])
def test_the_way_back_is_the_transpose_so_that_the_step_descends(kind) -> None:
    layer = opened(kind)
    _, coordinates = coefficient_gradients(layer)
    own, seen = CoefficientMap.of(layer, (layer.weights, layer.soft_weights)), []

    def rule(matrix):
        seen.append((matrix, slow(matrix, torch.linalg.matrix_norm(matrix, 2) ** 2, 0.1)))
        return seen[-1][1]

    steps = own.applied(rule, coordinates)
    product = sum((c * d).sum() for c, d in zip(coordinates, steps, strict=True))
    assert torch.allclose(product, (seen[0][0] * seen[0][1]).sum())
    assert product > 0


def test_a_soft_layer_moves_as_its_dense_kernel_does() -> None:
    soft = es.SoftR2Conv(HIDDEN, HIDDEN, 3, bias=False, softness=1.0).double()
    dense = soft.export()
    graded = graded_kernel(dense, HIDDEN, HIDDEN)
    register_parametrization(dense, "weight", es.SoftFilter(graded, 1.0, dense.weight))
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    soft.train()
    optimizers = DampedMuon(soft, lr=0.01), DampedMuon(dense, lr=0.01)
    for _ in range(5):
        for optimizer, y in zip(optimizers, (soft(HIDDEN(x)).tensor, dense(x)), strict=True):
            optimizer.zero_grad()
            (y - x[..., 1:-1, 1:-1]).square().mean().backward()
            optimizer.step()
    assert torch.allclose(soft.expand_parameters()[0], dense.weight, atol=1e-10)


def test_it_is_its_formula() -> None:
    V = vector(orthogonal_group(3))
    layer = es.SoftMatrixLinear(2 * V, V, bias=False, softness=1.0).double()
    weight, average = layer.weight.detach().clone(), torch.zeros_like(layer.weight)
    optimizer = DampedMuon(layer, lr=0.01, weight_decay=0.1)
    reference = torch.zeros((), dtype=torch.float64)
    for _ in range(4):
        x = torch.randn(5, 6, dtype=torch.float64)
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        average = 0.9 * average + 0.1 * layer.weight.grad
        ahead = 0.9 * average + 0.1 * layer.weight.grad
        gram = ahead @ ahead.T
        reference = torch.maximum(0.99 * reference, (gram.matrix_power(8).norm()) ** (1 / 8))
        weight = weight * (1 - 0.001) - 0.01 * 0.2 * 6**0.5 * slow(ahead, reference, 0.03)
        optimizer.step()
    assert torch.allclose(layer.weight, weight, atol=1e-10)


def test_biases_and_heads_move_as_by_layerwise_adam() -> None:
    ours = network()
    theirs = copy.deepcopy(ours)
    descend(ours, DampedMuon(ours, lr=0.01), steps=1)
    descend(theirs, LayerwiseAdam(theirs, lr=0.01), steps=1)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b) == ("weight" not in name or "head" in name)


def test_a_dial_that_opens_is_followed() -> None:
    model = network(0.0)
    optimizer = DampedMuon(model, lr=0.01)
    descend(model, optimizer)
    assert not model.first.soft_weights.any()
    es.set_softness(model, 1.0)
    descend(model, optimizer)
    assert model.first.soft_weights.any()


def test_a_basis_that_is_cast_is_followed() -> None:
    model = network(0.0, torch.bfloat16)
    optimizer = DampedMuon(model, lr=0.01)
    descend(model, optimizer)
    descend(model.float(), optimizer)
    other = copy.deepcopy(model)
    fresh = DampedMuon(other, lr=0.01)
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    descend(model, optimizer)
    descend(other, fresh)
    assert equal(model, other)


def test_frozen_parameters_stay() -> None:
    model = network()
    model.first.requires_grad_(False)
    model.last.weights.requires_grad_(False)
    before = copy.deepcopy(model)
    descend(model, DampedMuon(model, lr=0.1, weight_decay=0.1))
    assert equal(model.first, before.first)
    assert torch.equal(model.last.weights, before.last.weights)
    assert not torch.equal(model.last.soft_weights, before.last.soft_weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_goes_on_from_a_checkpoint(dtype) -> None:
    model = network(dtype=dtype)
    optimizer = DampedMuon(model, lr=0.01)
    descend(model, optimizer)
    other = copy.deepcopy(model)
    continued = DampedMuon(other)
    continued.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    copied, of_the_copy = copy.deepcopy((model, optimizer))
    for m, o in ((model, optimizer), (other, continued), (copied, of_the_copy)):
        assert all(v.dtype == torch.float32 for state in o.state.values() for v in state.values())
        descend(m, o, seed=1)
    assert equal(model, other)
    assert equal(model, copied)


class NoValues(TorchDispatchMode):
    """Refuses to hand a tensor's value to Python, for which a GPU would have to be waited."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        assert "_local_scalar_dense" not in str(function)
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("optimizer", [LayerwiseAdam, DampedMuon])
def test_a_step_asks_for_no_value(optimizer) -> None:
    model = network()
    training = optimizer(model)
    descend(model, training, steps=1)
    for p in model.head.parameters():
        p.grad = None  # torch's Adam keeps its count on the CPU
    with NoValues():
        training.step()
    with pytest.raises(AssertionError), NoValues():
        model.first.weights[0].item()
