"""Modules of TorchScript's in a model: they stay as they are, and are named where they have kernels."""

from __future__ import annotations

import warnings

import pytest
import torch
from escnn import gspaces
from escnn import nn as enn
from torch import nn

import escnn_soft as es
from escnn_soft.training.layer_parameters import layer_parameters

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

C4 = gspaces.rot2dOnR2(4)
SCALARS, FIELD = C4.type(*[C4.trivial_repr] * 3), C4.type(*[C4.regular_repr] * 2)
IMAGES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))

PARTS = {
    "relu": lambda: torch.jit.script(nn.ReLU()),
    "block": lambda: torch.jit.script(nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))),
    "kernel": lambda: torch.jit.script(nn.Conv2d(8, 8, 3)),
    "traced": lambda: torch.jit.trace(nn.Conv2d(8, 8, 3), torch.randn(1, 8, 5, 5)),
    "deep kernel": lambda: torch.jit.script(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3))),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(nn.Sequential(nn.ReLU()).eval())),
}
KERNELS = {"kernel": "1", "traced": "1", "deep kernel": "1.1"}


def model_with(part: str) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), PARTS[part]())


@pytest.mark.parametrize("part", PARTS)
def test_every_verb_runs(part) -> None:
    hard = model_with(part)
    soft = es.soften(hard, 0.3, gspace=C4, on_unsupported="ignore")
    assert all(p is q for p, q in zip(hard.parameters(), soft.parameters(), strict=True))
    soft(IMAGES).square().sum().backward()
    assert all(p.grad is not None for p in hard.parameters())
    soft.eval()
    expected = soft(IMAGES)
    for shape in (None, IMAGES.shape):
        named = {each.name for each in es.soft_status(soft, shape).grid}
        assert named & {"1", "1.1"} == ({KERNELS[part]} if part in KERNELS else set())
    torch.testing.assert_close(es.bake(soft)(IMAGES), expected)
    es.set_softness(soft, 0.0)
    torch.testing.assert_close(es.harden(soft)(IMAGES), soft(IMAGES))
    assert layer_parameters(soft)
    certificate = es.certify(soft, IMAGES, in_type=SCALARS)
    assert not certificate.certified
    assert ("1", "it is scripted: certify the model before scripting") in certificate.not_covered


@pytest.mark.parametrize("part", PARTS)
def test_kernels_that_no_filter_reaches_are_named(part) -> None:
    if part in KERNELS:
        with pytest.warns(UserWarning, match=rf"leaves 1 layers hard:\n  {KERNELS[part]}: Conv2d: it is scripted"):
            es.soften(model_with(part), 0.3, gspace=C4)
    else:
        model = model_with(part)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            es.soften(model, 0.3, gspace=C4)


def test_a_model_that_is_scripted_as_a_whole_is_refused() -> None:
    model = torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 3)))
    for inplace in (True, False):
        with pytest.raises(es.errors.ArgumentError, match="0: Conv2d: it is scripted: soften the model first"):
            es.soften(model, 0.3, gspace=C4, inplace=inplace)
    assert es.soft_status(model, IMAGES.shape).layers == ()


class Headed(nn.Module):
    """A layer of escnn's before a scripted head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = enn.R2Conv(SCALARS, FIELD, 3), torch.jit.script(nn.Conv2d(8, 4, 1))

    def forward(self, x):
        return self.head(self.conv(SCALARS(x)).tensor)


def test_layers_of_escnns_beside_it() -> None:
    hard = Headed()
    soft = es.soften(hard, 0.3)
    assert soft.head.weight is hard.head.weight
    assert torch.allclose(soft(IMAGES), hard(IMAGES), atol=5e-6)
    assert [each.name for each in es.soft_status(soft, IMAGES.shape).layers] == ["conv"]
    assert es.certify(soft.eval(), IMAGES, in_type=SCALARS).not_covered[0][0] == "head"
