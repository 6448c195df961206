"""Dtypes, devices and mixed precision of whole models."""

from __future__ import annotations

import pytest
import torch

from escnn_soft import soften
from tests.convert.models import Classifier, output, sequential
from tests.disturbance import disturb

TOLERANCE = {torch.float64: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.02}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_to_a_dtype_and_back(dtype, train) -> None:
    model = disturb(soften(Classifier(), 0.5)).train(train)
    expected = output(model)
    model.to(dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    y = output(model)
    assert y.dtype == dtype
    assert (y - expected).abs().max() < TOLERANCE[dtype] * expected.abs().max()
    assert output(model.float()).dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("train", [True, False])
def test_to_a_device_and_back(train) -> None:
    model = disturb(soften(sequential(), 0.5)).train(train)
    expected = output(model)
    assert torch.allclose(output(model.to("cuda")).cpu(), expected, atol=1e-3)
    assert torch.allclose(output(model.to("cpu")), expected, atol=1e-6)


@pytest.mark.parametrize("build", [sequential, Classifier])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_trains_and_evaluates(dtype, build) -> None:
    model = disturb(soften(build(), 0.5))
    reference = [g.clone() for g in torch.autograd.grad(output(model).square().mean(), list(model.parameters()))]
    expected = output(model.eval())
    with torch.autocast("cpu", dtype=dtype):
        evaluated = output(model)
        loss = output(model.train()).float().square().mean()
    loss.backward()
    assert (evaluated - expected).abs().max() < 0.05 * expected.abs().max()
    for parameter, gradient in zip(model.parameters(), reference, strict=True):
        assert parameter.grad.dtype == torch.float32
        assert (parameter.grad - gradient).norm() < 0.1 * max(float(gradient.norm()), 1e-2)
