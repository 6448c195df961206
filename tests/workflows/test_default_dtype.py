"""Every kind of softness under any default dtype of torch's, and escnn's own layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from escnn import gspaces, nn
from torch.nn import Module

import escnn_soft as es
from tests.kinds import KINDS, example

DTYPES = (torch.float64, torch.float16, torch.bfloat16)
NO_BUDGET = ("table of positions", "ProjectedLayer")


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    """Torch's default dtype, for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@torch.no_grad()
def filled(model: Module) -> Module:
    """Weights that every dtype has."""
    for _, parameter in sorted(model.named_parameters()):
        parameter.copy_((torch.arange(parameter.numel()) % 7 - 3).div(8).view(parameter.shape))
    return model.eval()


def inputs(model: Module, dtype: torch.dtype):
    x = example(model)
    numbers = (getattr(x, "tensor", x) * 8).round().div(8).to(dtype)
    return numbers if isinstance(x, torch.Tensor) else x.type(numbers, x.coords)


def facts(model: Module, dtype: torch.dtype) -> list[float]:
    """What a model computes and what is said of it, at two softnesses."""
    numbers = []
    for softness in (0.5, 0.0):
        es.set_softness(model, softness)
        with torch.no_grad():
            y = model(inputs(model, dtype))
        y = getattr(y, "tensor", y)
        assert y.dtype == dtype
        numbers += y.double().flatten().tolist()
        for dial in es.layers.dials(model).values():
            numbers += [dial.bound(), dial.spectrum().breaking]
            numbers += [] if hasattr(model, "table") else [dial.certificate().relative.sup]
    return numbers


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_what_it_is_under_single_precision(kind, dtype) -> None:
    with default(dtype):
        model = filled(KINDS[kind]())
        assert {p.dtype for p in model.parameters()} == {dtype}
        found = facts(model, dtype)
    expected = facts(filled(KINDS[kind]().to(dtype)), dtype)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_changes_its_softness(kind, dtype) -> None:
    with default(dtype):
        model = KINDS[kind]().train()
        for softness in (0.3, es.Cutoff(1.0), *([] if kind in NO_BUDGET else [es.Budget(0.3)])):
            es.set_softness(model, softness)
            y = model(inputs(model, dtype))
            getattr(y, "tensor", y).square().mean().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients
        assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_escnns_own_layers_run_and_are_softened(dtype) -> None:
    space = gspaces.flipRot2dOnR2(4)
    field = space.type(space.regular_repr, space.trivial_repr)
    x = torch.randn(1, field.size, 5, 5).to(dtype)
    with default(dtype):
        layer = nn.R2Conv(field, field, 3)
        for train in (True, False):
            layer.train(train)
            y = layer(field(x)).tensor
            soft = es.soften(layer, 0.3)
            assert y.dtype == dtype
            rounding = max(8 * torch.finfo(dtype).eps, 1e-6)  # escnn samples its bases in single precision
            assert (soft(field(x)).tensor - y).abs().max() <= rounding * y.abs().max()
    bases = [b for name, b in nn.R2Conv(field, field, 3).named_buffers() if name.endswith("sampled_basis")]
    assert bases
    assert all(b.dtype == torch.float32 for b in bases)  # layers share them, whatever they compute in
