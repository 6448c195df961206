"""Claim: on an O(5) regression whose target breaks the symmetry slightly, soft nets beat strict and plain ones.

    y = sin ||r1|| - ||r2||^3 / 2 + cos(r1, r2) + noise * (|r1_1| + |r1_2| + |r2_1| + |r2_2|) / (1 + |r1_3| + |r1_4| + |r2_3| + |r2_4|)

with r1, r2 standard normal in R^5. 1000 points to train on, 1000 to choose the epoch, 1000 to test. All nets have three
hidden layers and get the same epochs of Adam with a cosine schedule.

Two ways to average are in use. Over the test set: ||a - b|| / ||b|| of the vectors of all predictions a and targets b, and
eErr = ||a - b|| / (||a|| + ||b||) with a = f(g x) and b = f(x). And point by point: the mean of |a - b| / (|a| + |b|),
for the error and for eErr, as in the code of Rahman et al. Both are printed. One random g a point.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from _harness import print_setting
from torch import Tensor, nn

from escnn_soft import (
    MatrixGate,
    MatrixRepresentation,
    SoftMatrixBilinear,
    SoftMatrixLinear,
    orthogonal_group,
    scalar,
    vector,
)
from escnn_soft.plots import Curve, Reference, plot_dial, to_png

GROUP = orthogonal_group(5)
V, ONE = vector(GROUP), scalar(GROUP)
INPUT = 2 * V
POINTS = 1000
BATCH = 100


def target(x: Tensor, noise: float) -> Tensor:
    r1, r2 = x[:, :5], x[:, 5:]
    length1, length2 = r1.norm(dim=1), r2.norm(dim=1)
    a = x.abs()
    breaking = a[:, [0, 1, 5, 6]].sum(1) / (1 + a[:, [2, 3, 7, 8]].sum(1))
    return length1.sin() - length2**3 / 2 + (r1 * r2).sum(1) / (length1 * length2) + noise * breaking


class HiddenLayer(nn.Module):
    """Linear and quadratic part, then gates."""

    def __init__(self, into: MatrixRepresentation, out: MatrixRepresentation, factors: int, softness: float) -> None:
        super().__init__()
        self.gate = MatrixGate(out)
        self.linear = SoftMatrixLinear(into, self.gate.in_representation, softness=softness)
        self.quadratic = SoftMatrixBilinear(into, self.gate.in_representation, factors * V, softness=softness)

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(self.linear(x) + self.quadratic(x))


class SoftNet(nn.Module):
    """Three hidden layers of scalars and vectors, and a linear read-out."""

    def __init__(self, softness: float, scalars: int, vectors: int, factors: int) -> None:
        super().__init__()
        hidden = scalars * ONE + vectors * V
        sizes = [INPUT, hidden, hidden, hidden]
        self.hidden = nn.Sequential(*(HiddenLayer(a, b, factors, softness) for a, b in zip(sizes, sizes[1:], strict=False)))
        self.head = SoftMatrixLinear(hidden, ONE, softness=softness)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x))[:, 0]


class PlainNet(nn.Module):
    """Three hidden layers without any structure."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [10, width, width, width]
        layers = [part for a, b in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(a, b), nn.SiLU())]
        self.net = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 0]


@dataclass(frozen=True)
class Score:
    """What is measured on the test set; see the top of the file for the two averages."""

    error: float
    equivariance: float
    pointwise_error: float
    pointwise_equivariance: float
    mse: float
    spread: float


def measure(net: nn.Module, x: Tensor, y: Tensor, moved: Tensor) -> Score:
    net.eval()
    with torch.no_grad():
        a, b = net(x), net(moved)
    pointwise = [((p - q).abs() / (p.abs() + q.abs())).mean().item() for p, q in ((a, y), (a, b))]
    return Score(
        ((a - y).norm() / y.norm()).item(), ((a - b).norm() / (a.norm() + b.norm())).item(), *pointwise,
        (a - y).square().mean().item(), (a.std() / y.std()).item(),
    )  # fmt: skip


def train(net: nn.Module, data: list[tuple[Tensor, Tensor]], epochs: int, rate: float, decay: float) -> nn.Module:
    (x, y), (x_val, y_val) = data[:2]
    mean, std = y.mean(), y.std()
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
    steps = epochs * (POINTS // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    best, state = float("inf"), net.state_dict()
    for epoch in range(epochs):
        net.train()
        for rows in torch.randperm(POINTS).split(BATCH):
            optimizer.zero_grad()
            (net(x[rows]) - (y[rows] - mean) / std).square().mean().backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            net.eval()
            with torch.no_grad():
                loss = (net(x_val) * std + mean - y_val).square().mean().item()
            if loss < best:
                best, state = loss, copy.deepcopy(net.state_dict())
    net.load_state_dict(state)
    return Rescaled(net, mean, std)


class Rescaled(nn.Module):
    """Predictions in the units of the targets."""

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.net, self.mean, self.std = net, mean, std

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * self.std + self.mean
