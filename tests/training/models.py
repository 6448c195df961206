"""Small models with a softness, and a step of training on them."""

from __future__ import annotations

import torch
from escnn import gspaces, nn
from torch import Tensor
from torch.nn import Module

import escnn_soft as es

SPACE = gspaces.rot2dOnR2(4)
IMAGE, HIDDEN = SPACE.type(SPACE.trivial_repr), SPACE.type(SPACE.regular_repr)


class Network(Module):
    """Two soft convolutions and a plain head."""

    def __init__(self, softness: float | es.Policy = 1.0) -> None:
        super().__init__()
        self.first = es.SoftR2Conv(IMAGE, HIDDEN, 3, softness=softness)
        self.act = nn.PointwiseNonLinearity(HIDDEN, "p_elu")
        self.last = es.SoftR2Conv(HIDDEN, HIDDEN, 3, softness=softness)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.last(self.act(self.first(IMAGE(x)))).tensor
        return self.head(hidden.mean((2, 3)))


def network(softness: float | es.Policy = 1.0, dtype: torch.dtype = torch.float32) -> Network:
    torch.manual_seed(0)
    return Network(softness).to(dtype)


def descend(model: Module, optimizer: torch.optim.Optimizer, steps: int = 3, seed: int = 0) -> float:
    """Train on random pictures; returns the last loss."""
    generator = torch.Generator().manual_seed(seed)
    like = next(model.parameters())
    for _ in range(steps):
        x = torch.randn(2, 1, 7, 7, generator=generator).to(like)
        optimizer.zero_grad()
        loss = (model(x) - 1).square().mean()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def equal(first: Module, second: Module) -> bool:
    """Whether all parameters agree to the bit."""
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
