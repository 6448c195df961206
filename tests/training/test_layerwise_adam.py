"""LayerwiseAdam is its formula, a real optimiser of torch's, and Adam where no group acts."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

import escnn_soft as es
from escnn_soft.training import LayerwiseAdam, layer_group, layer_moments
from tests.training.models import HIDDEN, descend, equal, network


class Slow:
    """The formula, parameter by parameter, for a model whose layers all have gradients."""

    def __init__(self, model, lr, decay=0.0, rate=2.0, betas=(0.9, 0.999), eps=1e-8) -> None:
        self.model, self.lr, self.decay, self.rate, self.betas, self.eps = model, lr, decay, rate, betas, eps
        self.m = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        self.v = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        self.t = 0

    def zero_grad(self) -> None:
        self.model.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        self.t += 1
        (b1, b2), named = self.betas, dict(self.model.named_parameters())
        for name, p in named.items():
            layer, _, own = name.rpartition(".")
            self.m[name] = b1 * self.m[name] + (1 - b1) * p.grad
            square = p.grad**2
            if layer in ("first", "last"):
                kinds = ("bias", "soft_bias") if "bias" in own else ("weights", "soft_weights")
                square = torch.cat([named[f"{layer}.{kind}"].grad for kind in kinds]).square().mean()
            self.v[name] = b2 * self.v[name] + (1 - b2) * square
        for name, p in named.items():
            layer, _, own = name.rpartition(".")
            inside = layer in ("first", "last")
            bias = self.v[f"{layer}.weights"].mean() if inside and "bias" in own else 0.0
            scale = ((self.v[name] + bias) / (1 - b2**self.t)).sqrt() + self.eps
            p.mul_(1 - self.lr * self.decay)
            p.sub_((self.rate if inside else 1.0) * self.lr * self.m[name] / (1 - b1**self.t) / scale)


@pytest.mark.parametrize(("decay", "cached"), [(0.0, 2**18), (0.1, 2**18), (0.1, 10)])
def test_it_is_its_formula(decay, cached, monkeypatch) -> None:
    monkeypatch.setattr(layer_moments, "_CACHED", cached)  # parameters that are moved together
    fast = network(dtype=torch.float64)
    slow = copy.deepcopy(fast)
    descend(fast, LayerwiseAdam(fast, lr=0.01, weight_decay=decay), steps=5)
    descend(slow, Slow(slow, 0.01, decay), steps=5)
    for a, b in zip(fast.parameters(), slow.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_no_layer_with_a_softness_is_adam_to_the_bit(decay) -> None:
    ours = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(49, 3), torch.nn.LayerNorm(3))
    theirs = copy.deepcopy(ours)
    descend(ours, LayerwiseAdam(ours, lr=0.01, weight_decay=decay), steps=4)
    descend(theirs, torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=decay), steps=4)
    assert equal(ours, theirs)


def test_strict_nets_can_be_trained_as_by_adam_to_the_bit() -> None:
    ours = network(0.0)
    theirs = copy.deepcopy(ours)
    descend(ours, LayerwiseAdam(ours, lr=0.01, strict="adam"), steps=4)
    descend(theirs, torch.optim.Adam(theirs.parameters(), lr=0.01), steps=4)
    assert equal(ours, theirs)


def test_with_ordinary_strict_moments_soft_parts_have_the_layers_scale() -> None:
    model = network()
    optimizer = LayerwiseAdam(model, strict="adam")
    descend(model, optimizer)
    assert "exp_avg_sq" in optimizer.state[model.first.weights]
    assert "exp_avg_sq" not in optimizer.state[model.first.soft_weights]


def test_a_mean_is_over_what_has_a_gradient() -> None:
    model = network(0.0)
    optimizer = LayerwiseAdam(model, lr=0.0, betas=(0.0, 0.0))
    descend(model, optimizer, steps=1)
    layer = model.first
    assert layer.soft_weights.grad is None
    assert torch.allclose(optimizer.state[layer.weights]["layer"][1, 0], layer.weights.grad.square().mean())
    assert layer.soft_weights not in optimizer.state
    es.set_softness(model, 1.0)  # the dial opens: the others count from now on
    descend(model, optimizer, steps=1)
    every = torch.cat([layer.weights.grad, layer.soft_weights.grad])
    assert torch.allclose(optimizer.state[layer.weights]["layer"][1, 0], every.square().mean())


def test_frozen_parameters_stay() -> None:
    model = network()
    model.first.requires_grad_(False)
    model.last.weights.requires_grad_(False)
    before = copy.deepcopy(model)
    descend(model, LayerwiseAdam(model, lr=0.1, weight_decay=0.1))
    assert equal(model.first, before.first)
    assert torch.equal(model.last.weights, before.last.weights)
    assert not torch.equal(model.last.soft_weights, before.last.soft_weights)


def test_what_is_thawed_late_begins_as_it_would_have() -> None:
    late, early = network(), network()
    late.first.weights.requires_grad_(False)
    late.first.soft_weights.requires_grad_(False)
    optimizer = LayerwiseAdam(late, lr=0.0)
    descend(late, optimizer, steps=50)
    late.first.requires_grad_(True)
    optimizer.param_groups[0]["lr"] = 0.01
    descend(late, optimizer, steps=1)
    descend(early, LayerwiseAdam(early, lr=0.01), steps=1)
    assert torch.allclose(late.first.weights, early.first.weights)


def test_a_shared_parameter_moves_once() -> None:
    first, second = (es.SoftR2Conv(HIDDEN, HIDDEN, 3, softness=1.0) for _ in range(2))
    second.weights = first.weights
    model = torch.nn.Sequential(first, second)
    model(HIDDEN(torch.randn(1, 4, 7, 7))).tensor.square().sum().backward()
    before = first.weights.detach().clone()
    optimizer = LayerwiseAdam(model, lr=0.5, betas=(0.0, 0.0))
    optimizer.step()
    weights = [first.weights.grad, first.soft_weights.grad, second.soft_weights.grad]
    scale = torch.cat(weights).square().mean().sqrt()
    assert torch.allclose(before - first.weights, first.weights.grad / scale, rtol=1e-4, atol=1e-6)


def test_the_state_is_half_of_adams() -> None:
    def entries(optimizer) -> int:
        return sum(value.numel() for state in optimizer.state.values() for value in state.values())

    model = network()
    ours, theirs = LayerwiseAdam(model), torch.optim.Adam(model.parameters())
    descend(model, ours, steps=1)
    descend(model, theirs, steps=1)
    layers = sum(p.numel() for layer in layer_group(model)["layers"] for p in layer.all)
    assert entries(theirs) - entries(ours) >= layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_goes_on_from_a_checkpoint(dtype) -> None:
    model = network(dtype=dtype)
    optimizer = LayerwiseAdam(model, lr=0.01)
    descend(model, optimizer)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = network(dtype=dtype)
    other.load_state_dict(saved["model"])
    continued = LayerwiseAdam(other, lr=0.5)
    continued.load_state_dict(saved["optimizer"])
    assert continued.param_groups[0]["lr"] == 0.01
    for state in continued.state.values():
        assert all(value.dtype == torch.float32 for value in state.values())
    descend(model, optimizer, seed=1)
    descend(other, continued, seed=1)
    assert equal(model, other)


def test_a_checkpoint_of_another_precision() -> None:
    model = network()
    optimizer = LayerwiseAdam(model, lr=0.01)
    descend(model, optimizer)
    other = network(dtype=torch.float64)
    continued = LayerwiseAdam(other)
    continued.load_state_dict(optimizer.state_dict())
    descend(other, continued)
    assert all(v.dtype == torch.float64 for s in continued.state.values() for k, v in s.items() if k != "step")


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_train_on(copier) -> None:
    model = torch.nn.Sequential(
        es.SoftMatrixLinear(*[es.groups.vector(es.groups.orthogonal_group(3))] * 2, softness=1.0)
    )
    optimizer = LayerwiseAdam(model, lr=0.01, strict="adam")

    def train(model, optimizer) -> None:
        optimizer.zero_grad()
        (model(torch.ones(1, 3)) - 1).square().sum().backward()
        optimizer.step()

    train(model, optimizer)
    other, continued = copier((model, optimizer))
    train(model, optimizer)
    train(other, continued)
    assert equal(model, other)


def test_groups_have_options_of_their_own() -> None:
    model = network()
    before = copy.deepcopy(model)
    optimizer = LayerwiseAdam([layer_group(model.first, lr=0.0), layer_group(model.last)], lr=0.01)
    optimizer.add_param_group(layer_group(model.head, lr=0.1))
    descend(model, optimizer, steps=1)
    assert equal(model.first, before.first)
    assert torch.allclose((model.head.weight - before.head.weight).abs(), torch.tensor(0.1), rtol=1e-3)
    assert not equal(model.last, before.last)


def test_schedulers_and_closures() -> None:
    model = network()
    optimizer = LayerwiseAdam(model, lr=0.003)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 1, 7, 7)).square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    scheduler.step()
    between = copy.deepcopy(model)
    assert optimizer.step(closure) < first
    assert equal(model, between)


def test_a_step_compiles_to_one_graph() -> None:
    model = network()
    other = copy.deepcopy(model)
    eager, compiled = LayerwiseAdam(model, lr=0.01), LayerwiseAdam(other, lr=0.01)
    step = torch.compile(compiled.step, backend="eager", fullgraph=True)
    for m, take in ((model, eager.step), (other, step)):
        for seed in (0, 1):
            m.zero_grad()
            x = torch.randn(2, 1, 7, 7, generator=torch.Generator().manual_seed(seed))
            (m(x) - 1).square().mean().backward()
            take()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_half_precision_parameters_have_single_precision_state() -> None:
    model, wide = network(dtype=torch.bfloat16), network()
    optimizer = LayerwiseAdam(model, lr=0.01)
    descend(model, optimizer)
    descend(wide, LayerwiseAdam(wide, lr=0.01))
    assert all(v.dtype == torch.float32 for state in optimizer.state.values() for v in state.values())
    for a, b in zip(model.parameters(), wide.parameters(), strict=True):
        assert torch.allclose(a.float(), b, atol=0.03)


def test_what_it_does_not_know_is_refused() -> None:
    model = network()
    group = layer_group(model)
    with pytest.raises(es.errors.ArgumentError, match="all parameters of the layer 'first' in one group"):
        LayerwiseAdam([{**group, "params": group["params"][1:]}])
    embedding = torch.nn.Embedding(3, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(es.errors.ArgumentError, match="dense gradients"):
        LayerwiseAdam(embedding).step()
