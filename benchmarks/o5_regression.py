"""Claim: on an O(5) regression with a slightly broken symmetry, soft nets predict well and stay almost equivariant.

    y = sin ||r1|| - ||r2||^3 / 2 + cos(r1, r2) + noise * b
    b = (|r1_1| + |r1_2| + |r2_1| + |r2_2|) / (1 + |r1_3| + |r1_4| + |r2_3| + |r2_4|)

with r1, r2 standard normal in R^5: the task of Rahman et al., arXiv 2603.26657. 1000 points to train on, 1000 to choose
the epoch, 1000 to test. All nets have three hidden layers, about 18,600 parameters and the same epochs of AdamW.

Two averages are in use, both are printed. Over the test set: ||a - y|| / ||y|| of the vectors of all predictions and
all targets, and eErr = ||a - b|| / (||a|| + ||b||) with a = f(x), b = f(g x), one random g a point. Point by point, as
in the code of Rahman et al.: the mean of |a - y| / (|a| + |y|) and of |a - b| / (|a| + |b|).
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from _harness import print_setting
from torch import Tensor, nn

from escnn_soft import Exponential, MatrixGate, Policy, SoftMatrixBilinear, SoftMatrixLinear
from escnn_soft.groups import orthogonal_group, scalar, vector
from escnn_soft.plots import Curve, Reference, plot_dial, to_png

GROUP = orthogonal_group(5)
V, ONE = vector(GROUP), scalar(GROUP)
INPUT = 2 * V
POINTS = 1000
BATCH = 250
RATE, DECAY = 5e-3, 1e-3
PLAIN = -1.0  # stands for the net without structure where a softness is expected


def target(x: Tensor, noise: float) -> Tensor:
    r1, r2 = x[:, :5], x[:, 5:]
    length1, length2 = r1.norm(dim=1), r2.norm(dim=1)
    a = x.abs()
    breaking = a[:, [0, 1, 5, 6]].sum(1) / (1 + a[:, [2, 3, 7, 8]].sum(1))
    return length1.sin() - length2**3 / 2 + (r1 * r2).sum(1) / (length1 * length2) + noise * breaking


class SoftNet(nn.Module):
    """Dot products and their like first, then two hidden layers of gated scalars and vectors, and a read-out."""

    def __init__(self, softness: Policy, scalars: int = 32, vectors: int = 4, factors: int = 8) -> None:
        super().__init__()
        hidden = scalars * ONE + vectors * V
        self.gate = MatrixGate(hidden)
        gated = self.gate.in_representation
        self.quadratic = SoftMatrixBilinear(INPUT, gated, factors * V, softness=softness)
        self.linear = nn.ModuleList(SoftMatrixLinear(rho, gated, softness=softness) for rho in (INPUT, hidden, hidden))
        self.head = SoftMatrixLinear(hidden, ONE, softness=softness)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.linear
        x = self.gate(first(x) + self.quadratic(x))
        for layer in others:
            x = self.gate(layer(x))
        return self.head(x)[:, 0]


class PlainNet(nn.Module):
    """Three hidden layers without any structure."""

    def __init__(self, width: int = 93) -> None:
        super().__init__()
        sizes = [10, width, width, width]
        layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
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


def train(net: nn.Module, data: list[tuple[Tensor, Tensor]], epochs: int) -> nn.Module:
    (x, y), (x_val, y_val) = data[:2]
    mean, std = y.mean(), y.std()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    steps = epochs * (POINTS // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
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


def run(seed: int, softness: float, epochs: int, noise: float) -> Score:
    """One net on one draw of the data; the same draw for all nets of a seed."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x = torch.randn(3 * POINTS, INPUT.size)
    data = list(zip(x.split(POINTS), target(x, noise).split(POINTS), strict=True))
    turns = torch.stack([INPUT.matrix(GROUP.sample()) for _ in range(POINTS)]).float()
    moved = torch.einsum("bij,bj->bi", turns, data[2][0])
    net = PlainNet() if softness == PLAIN else SoftNet(Exponential(softness))
    return measure(train(net, data, epochs), *data[2], moved)


def print_table(scores: dict[float, Sequence[Score]]) -> None:
    """Mean over the seeds, and the spread of the relative norm."""
    print(f"{'':<16}{'rel. norm':>18}{'eErr':>11}{'pointwise':>12}{'eErr pw.':>10}{'MSE':>9}{'spread':>9}")
    for softness, rows in scores.items():
        name = "unconstrained" if softness == PLAIN else "strict" if softness == 0 else f"softness {softness:g}"
        error, equivariance, pointwise, pointwise_e, mse, spread = (
            statistics.mean(column) for column in zip(*map(astuple, rows), strict=True)
        )
        deviation = statistics.stdev(row.error for row in rows) if len(rows) > 1 else 0.0
        print(
            f"{name:<16}{error:>10.4f} ± {deviation:.4f}{equivariance:>11.2e}"
            f"{pointwise:>12.4f}{pointwise_e:>10.4f}{mse:>9.4f}{spread:>9.3f}"
        )


def picture(scores: dict[float, Sequence[Score]]) -> bytes:
    """Both errors, point by point, against the softness."""
    dial = {softness: rows for softness, rows in scores.items() if softness != PLAIN}
    curves = [
        Curve(label, tuple(dial), tuple(tuple(getattr(row, name) for row in rows) for rows in dial.values()))
        for label, name in (("error", "pointwise_error"), ("equivariance error", "pointwise_equivariance"))
    ]
    plain = tuple(row.pointwise_error for row in scores[PLAIN])
    title = "O(5) regression, noise 0.3"
    references = [Reference("error of the plain net", plain)]
    return to_png(plot_dial(curves, ylabel="mean of |a - b| / (|a| + |b|)", title=title, references=references))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one seed, 30 epochs, three nets")
    parser.add_argument("--picture", type=Path, help="where to write the curve, as PNG")
    options = parser.parse_args()
    stops = [0.0, 0.05, 0.1, 0.2, 0.5, 1.0, PLAIN]
    if options.quick:
        options.seeds, options.epochs, stops = 1, 30, [0.0, 0.05, PLAIN]
    print_setting(f"O(5) regression, noise {options.noise:g}, {options.epochs} epochs, {options.seeds} seeds", 1)
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = {
            stop: [pool.submit(run, seed, stop, options.epochs, options.noise) for seed in range(options.seeds)]
            for stop in stops
        }
        scores = {stop: [job.result() for job in row] for stop, row in jobs.items()}
    print_table(scores)
    if options.picture is not None:
        options.picture.write_bytes(picture(scores))


if __name__ == "__main__":
    main()
