"""escnn's example networks: softened in one call, trained, certified, exported, hardened."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from escnn.group import GroupElement
from escnn.nn import EquivariantModule, PointwiseDropout, R2Conv, R3Conv
from torch import Tensor
from torch.nn.functional import cross_entropy

from escnn_soft import harden, set_softness, soft_status, soften
from escnn_soft.certification import NetworkCertificate, certify
from escnn_soft.functions import act, pixel_elements
from escnn_soft.layers import SoftLayer
from tests.examples import networks
from tests.examples.networks import Classifier

CLASSES, BATCH, STEPS, ATTACKS = 3, 3, 6, 5


class Example(NamedTuple):
    """A network of small width.

    Attributes:
        build: makes it.
        sizes: of an input, channels and sides.
        covered: elements that its certificate covers.
        left_out: layer and reason of those that it does not.
    """

    build: Callable[[], Classifier]
    sizes: tuple[int, ...]
    covered: int
    left_out: tuple[tuple[str, str], ...]


OFF_THE_GRID = ("input", "do not move pixels onto pixels")
EXAMPLES = {
    "C8 steerable CNN": Example(
        lambda: networks.c8_steerable_cnn((1, 1, 1, 2), 15, 4, CLASSES), (1, 15, 15), 4, (OFF_THE_GRID,)
    ),
    "Wide ResNet": Example(
        lambda: networks.wide_resnet((8, 4, 1), (1, 1, 1, 2), 1, CLASSES), (3, 9, 9), 2,
        (("body.5", "elements outside the subgroup"), OFF_THE_GRID),
    ),
    "octahedral CNN": Example(lambda: networks.octahedral_cnn((1, 1), CLASSES), (1, 9, 9, 9), 24, ()),
    "icosahedral CNN": Example(
        lambda: networks.icosahedral_cnn((1, 2), CLASSES), (1, 9, 9, 9), 12, (OFF_THE_GRID,)
    ),
    "SE(3) ResNet": Example(
        lambda: networks.se3_resnet((1, 1), (1, 2), (1,), 1, 1, 2, 4, CLASSES), (1, 9, 9, 9), 24, (OFF_THE_GRID,)
    ),
    "SO(3) gated CNN": Example(
        lambda: networks.so3_gated_cnn((1, 2), CLASSES), (1, 9, 9, 9), 24, (OFF_THE_GRID,)
    ),
}  # fmt: skip


class Trained(NamedTuple):
    """What one example went through, and its inputs."""

    hard: Classifier
    soft: Classifier
    x: Tensor
    agreement: float
    losses: list[float]


@cache
def trained(name: str) -> Trained:
    """An example, softened and trained for a few steps."""
    torch.manual_seed(0)
    example = EXAMPLES[name]
    hard, x = example.build().eval(), torch.randn(BATCH, *example.sizes)
    soft = soften(hard, 0.5)
    agreement = float((soft(x) - hard(x)).detach().abs().max())
    labels = torch.arange(BATCH) % CLASSES
    optimizer = torch.optim.Adam(soft.parameters(), lr=1e-2)
    losses = []
    soft.train()
    for module in soft.modules():  # so that the losses can be compared
        if isinstance(module, torch.nn.Dropout | PointwiseDropout):
            module.eval()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = cross_entropy(soft(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return Trained(hard, soft.eval(), x, agreement, losses)


@pytest.fixture(params=EXAMPLES)
def name(request) -> str:
    return request.param


def test_softened_in_one_call_and_trained(name) -> None:
    hard, soft, _, agreement, losses = trained(name)
    convolutions = sum(isinstance(module, R2Conv | R3Conv) for module in hard.modules())
    layers = [module for module in soft.modules() if isinstance(module, SoftLayer)]
    assert agreement < 1e-5
    assert len(layers) == convolutions == str(soft_status(soft)).count("softness 0.5")
    assert losses[-1] < losses[0]
    assert all(layer.soft_weights.any() for layer in layers)


@torch.no_grad()
def measured(model: Classifier, x: Tensor, cert: NetworkCertificate) -> Tensor:
    """||f(g x) - f(x)||, as the output is invariant.  # shape: (elements, samples)"""
    moved = [act(g, model.in_type(x)).tensor for g in cert.covered]
    return torch.stack([(model(y).double() - model(x).double()).norm(dim=1) for y in moved])


def attacked(model: Classifier, x: Tensor, cert: NetworkCertificate) -> Tensor:
    """An input not far from x on which the model errs more, at the worst element."""
    step = 0.1 * x.norm()
    for _ in range(ATTACKS):
        x = x.clone().requires_grad_()
        error = (model(act(cert.worst, model.in_type(x)).tensor) - model(x)).square().sum()
        (gradient,) = torch.autograd.grad(error, x)
        x = (x + step * gradient / gradient.norm().clamp(min=1e-12)).detach()
    return x


def test_the_bound_holds(name) -> None:
    _, model, x, _, _ = trained(name)
    example, x = EXAMPLES[name], x[:2]
    first = certify(model, x)
    assert len(first.covered) == example.covered
    assert len(first.not_covered) == len(example.left_out)
    for (layer, reason), (where, why) in zip(example.left_out, first.not_covered, strict=True):
        assert layer == where
        assert reason in why
    assert measured(model, x, first).max() > 1e-4
    for y in (x, attacked(model, x, first), 0.01 * x):
        cert = first if y is x else certify(model, y, some(first))
        assert cert.certified
        assert (measured(model, y, cert) <= torch.tensor(cert.samples, dtype=torch.float64)).all()


def some(cert: NetworkCertificate) -> list[GroupElement]:
    """The worst element and a few others."""
    return [cert.worst, *cert.covered[:: max(1, len(cert.covered) // 3)]]


def broken(model: Classifier, x: Tensor) -> float:
    """What a network is off by, rounding aside, relative to its output."""
    elements = pixel_elements(model.in_type.gspace)
    cert = certify(model, x[:1], elements[1::7] if len(elements) > 8 else None)
    assert cert.certified, cert.not_covered
    return sum(term.contribution for term in cert.terms if term.kind != "rounding") / cert.norms[0]


def test_volumes_that_a_stride_does_not_fit_are_refused_by_name() -> None:
    model = EXAMPLES["octahedral CNN"].build().eval()
    cert = certify(model, torch.randn(1, 1, 7, 7, 7))  # 7 voxels a side, 4 after the first pooling
    assert not cert.certified
    assert [layer for layer, _ in cert.not_covered] == ["body.7"]
    assert "off-centre on size 4" in cert.not_covered[0][1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_exported(name) -> None:
    _, model, x, _, _ = trained(name)
    expected = model(x).detach()
    plain = model.export()
    assert not any(isinstance(module, EquivariantModule) for module in plain.modules())
    assert (plain(x) - expected).abs().max() < 1e-5
    program = torch.export.export(plain, (x,))
    assert (program.module()(x) - expected).abs().max() < 1e-5
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(plain), buffer)
    buffer.seek(0)
    assert (torch.jit.load(buffer)(x) - expected).abs().max() < 1e-5


def test_hardened(name) -> None:
    _, model, x, _, _ = trained(name)
    hard = harden(model).eval()
    assert not any(isinstance(module, SoftLayer) for module in hard.modules())
    assert broken(hard, x) < 1e-2 < broken(model, x)
    set_softness(model, 0.0)
    try:
        assert broken(model, x) < 1e-2
        assert (model(x) - hard(x)).abs().max() < 1e-4
    finally:
        set_softness(model, 0.5)
