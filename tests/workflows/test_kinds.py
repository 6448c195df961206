"""Every kind of layer in the workflows that look inside of it: compilation, torch.func, copies, checkpoints, casts."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from escnn_soft import soften
from tests.convert.models import HARD_LAYERS, randomised
from tests.disturbance import disturb


@pytest.fixture(params=HARD_LAYERS)
def soft(request) -> torch.nn.Module:
    return disturb(soften(randomised(HARD_LAYERS[request.param]()), 0.5))


def picture(layer, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, layer.in_type.size, *[5] * layer.in_type.gspace.dimensionality, generator=generator)


def apply(layer, x, parameters=None) -> torch.Tensor:
    field = layer.in_type(x)
    return (layer(field) if parameters is None else functional_call(layer, parameters, (field,))).tensor


def gradients(layer, y) -> list[torch.Tensor]:
    return list(torch.autograd.grad(y.square().sum(), list(layer.parameters())))


@pytest.mark.parametrize("train", [True, False])
def test_compiles_to_one_graph(soft, train) -> None:
    soft.train(train)
    x = picture(soft)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: apply(soft, x), fullgraph=True, backend="eager")
    assert (compiled(x) - apply(soft, x)).abs().max() < 1e-5
    if train:
        for g, h in zip(gradients(soft, compiled(x)), gradients(soft, apply(soft, x)), strict=True):
            assert torch.allclose(g, h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_gradients_of_single_examples_by_torch_func(soft, train) -> None:
    x = picture(soft)
    expected = gradients(soft, apply(soft, x))
    soft.train(train)
    parameters = {name: p.detach() for name, p in soft.named_parameters()}
    single = vmap(grad(lambda p, x: apply(soft, x[None], p).square().sum()), in_dims=(None, 0))(parameters, x)
    for g, h in zip(single.values(), expected, strict=True):
        assert torch.allclose(g.sum(0), h, rtol=1e-3, atol=1e-4)


def test_gradient_checkpointing(soft) -> None:
    x = picture(soft).requires_grad_()
    expected = gradients(soft, apply(soft, x))
    for g, h in zip(gradients(soft, checkpoint(apply, soft, x, use_reentrant=False)), expected, strict=True):
        assert torch.equal(g, h)


@pytest.mark.parametrize("train", [True, False])
def test_copies_averages_and_files(soft, train) -> None:
    x = picture(soft)
    expected = apply(soft.train(train), x).detach()
    twin = copy.deepcopy(soft)
    average = AveragedModel(soft, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    average.update_parameters(soft.train(not train))
    buffer = io.BytesIO()
    torch.save(soft.state_dict(), buffer)
    buffer.seek(0)
    disturb(soft, 1.0)
    assert (apply(soft, x) - expected).abs().max() > 1e-2
    assert torch.equal(apply(twin, x), expected)
    assert torch.allclose(apply(average.module.eval(), x), expected, atol=1e-5)
    soft.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.allclose(apply(soft, x), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_mixed_precision_and_casts(soft, dtype) -> None:
    x = picture(soft)
    expected = apply(soft, x).detach()
    with torch.autocast("cpu", dtype=dtype):
        mixed = apply(soft, x)
    mixed.float().square().sum().backward()
    assert (mixed - expected).abs().max() < 0.05 * expected.abs().max()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in soft.parameters())
    for train in (True, False):
        low = apply(copy.deepcopy(soft).train(train).to(dtype), x.to(dtype))
        assert low.dtype == dtype
        assert (low - expected).abs().max() < 0.1 * expected.abs().max()
