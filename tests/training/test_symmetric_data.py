"""A network of softness 1 ends with the symmetry that its data have, and with no other: squares, rectangles, noise."""

from __future__ import annotations

import pytest
import torch
from escnn import gspaces, nn
from escnn.group import GroupElement
from torch import Tensor

import escnn_soft as es
from escnn_soft.functions import act
from escnn_soft.testing.samples import exact_elements
from escnn_soft.training import DampedMuon, LayerwiseAdam

SIDE, STEPS = 9, 200
SPACE = gspaces.flipRot2dOnR2(4)
IMAGE, HIDDEN = SPACE.type(SPACE.trivial_repr), SPACE.type(SPACE.regular_repr)
TRIVIAL = [SPACE.fibergroup.identity]
ALL = exact_elements(SPACE)


def box(height: int, width: int) -> Tensor:
    """An image of a centred box, given by half its sides."""
    distance = (torch.arange(SIDE) - SIDE // 2).abs()
    return ((distance[:, None] <= height) & (distance <= width)).double()[None, None]


NOISE = torch.randn(1, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
RECTANGLE = box(2, 4)
OF_THE_RECTANGLE = [g for g in ALL if torch.equal(act(g, IMAGE(RECTANGLE)).tensor, RECTANGLE)]


def errors(optimizer, target: Tensor, dtype: torch.dtype) -> dict[GroupElement, float]:
    """Relative equivariance error of what a square has become, for every element."""
    first = es.SoftR2Conv(IMAGE, HIDDEN, 5, padding=2, softness=1.0)
    last = es.SoftR2Conv(HIDDEN, IMAGE, 5, padding=2, softness=1.0)
    model = nn.SequentialModule(first, nn.PointwiseNonLinearity(HIDDEN, "p_elu"), last).to(dtype)
    x, target = IMAGE(box(1, 1).to(dtype)), target.to(dtype)
    training = optimizer(model, lr=3e-3)
    for _ in range(STEPS):
        training.zero_grad()
        (model(x).tensor - target).square().mean().backward()
        training.step()
    with torch.no_grad():
        y = model(x)
        return {g: float((act(g, y).tensor - model(act(g, x)).tensor).norm() / y.tensor.norm()) for g in ALL}


@pytest.mark.parametrize("optimizer", [LayerwiseAdam, DampedMuon])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-4), (torch.float64, 1e-8)])
def test_a_square_becomes_a_rectangle_and_keeps_exactly_its_symmetry(optimizer, dtype, rounding) -> None:
    assert len(OF_THE_RECTANGLE) == 4
    for element, error in errors(optimizer, RECTANGLE, dtype).items():
        assert error < rounding if element in OF_THE_RECTANGLE else error > 0.5


@pytest.mark.parametrize("optimizer", [LayerwiseAdam, DampedMuon])
def test_a_square_becomes_noise_and_keeps_nothing(optimizer) -> None:
    for element, error in errors(optimizer, NOISE, torch.float32).items():
        assert error == 0 if element in TRIVIAL else error > 0.5


def test_adam_leaves_the_rectangle_its_symmetry_no_better_than_to_a_percent() -> None:
    found = errors(lambda model, lr: torch.optim.Adam(model.parameters(), lr=lr), RECTANGLE, torch.float32)
    assert all(
        error > 1e-3 for element, error in found.items() if element in OF_THE_RECTANGLE and element not in TRIVIAL
    )
