"""Copies and averages of whole models."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from escnn_soft import Exponential, soften
from tests.convert.models import IMAGE, PICTURES, Classifier, output, sequential
from tests.disturbance import disturb


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("build", [sequential, Classifier])
def test_deepcopy(build, train) -> None:
    model = disturb(soften(build(), 0.5)).train(train)
    twin = copy.deepcopy(model)
    assert torch.equal(output(twin.eval()), output(model.eval()))
    before = output(model)
    disturb(twin, scale=1.0)
    assert torch.equal(output(model), before)
    assert {id(p) for p in twin.parameters()}.isdisjoint(id(p) for p in model.parameters())
    if build is Classifier:
        assert twin.again is twin.body[0]


@pytest.mark.parametrize("train", [True, False])
def test_exponential_average_of_a_training_run(train) -> None:
    model = disturb(soften(Classifier(), 0.5))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    expected = [p.detach().clone() for p in model.parameters()]
    for step in range(3):
        model.train()
        optimizer.zero_grad()
        output(model).square().mean().backward()
        optimizer.step()
        average.update_parameters(model.train(train))  # in either mode
        weight = 0.5 if step else 0.0
        expected = [weight * e + (1 - weight) * p.detach() for e, p in zip(expected, model.parameters(), strict=True)]
        output(average.module.eval())  # and used between updates
    for e, p in zip(expected, average.module.parameters(), strict=True):
        assert torch.allclose(e, p, atol=1e-6)
    twin = copy.deepcopy(model)
    twin.load_state_dict(average.module.state_dict())
    assert torch.equal(output(average.module.eval()), output(twin.eval()))


def test_stochastic_weight_averaging_with_statistics() -> None:
    members = [disturb(soften(sequential(), 0.5), scale) for scale in (0.1, 0.5)]
    average = AveragedModel(members[0])
    for member in members:
        average.update_parameters(member)
    for mean, *each in zip(average.module.parameters(), *(m.parameters() for m in members), strict=True):
        assert torch.allclose(mean, sum(each) / 2, atol=1e-6)
    update_bn([IMAGE(PICTURES)], average)
    assert output(average.module.eval()).isfinite().all()


def test_mean_of_kernels_is_the_kernel_of_the_mean() -> None:
    first, second = (disturb(soften(sequential(), Exponential(0.5)), scale)[0] for scale in (0.1, 0.5))
    mean = copy.deepcopy(first)
    mean.load_state_dict({k: (v + second.state_dict()[k]) / 2 for k, v in first.state_dict().items()})
    kernels = [layer.expand_parameters()[0] for layer in (first, second, mean)]
    assert torch.allclose((kernels[0] + kernels[1]) / 2, kernels[2], atol=1e-6)
