"""What the experiments share: options, a training loop, and the table with strict, soft and unconstrained networks."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from _harness import print_setting
from torch import Tensor, nn

from escnn_soft import Budget, Exponential, Policy
from escnn_soft.cli.table import aligned

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Options:
    """How much to run.

    Attributes:
        quick: whether to stay below a minute on one core.
        seeds: repetitions with other data, first weights and order of batches.
        threads: of torch.
    """

    quick: bool
    seeds: int
    threads: int

    def either(self, quick: float, full: float) -> float:
        """The one number or the other."""
        return quick if self.quick else full


def options(title: str, description: str, *, seeds: int) -> Options:
    """Parse the options every experiment has, set the number of threads, and say what runs on what."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller run, below a minute on one core")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=None, help=f"repetitions; 1 with --quick, else {seeds}")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    chosen = Options(given.quick, given.seeds or (1 if given.quick else seeds), given.threads)
    run = f"{'quick' if chosen.quick else 'full'} run, {chosen.seeds} seed{'s' * (chosen.seeds > 1)}"
    print_setting(f"{title}: {run}", chosen.threads)
    return chosen


def train(
    model: nn.Module, x: Tensor, y: Tensor, loss: Loss, *, epochs: int, batch: int, rate: float, seed: int
) -> float:
    """Adam with one learning-rate cycle, no weight decay; returns the mean loss of the last epoch."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    batches = max(len(x) // batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * batches)
    model.train()
    losses: list[float] = []
    for _ in range(epochs):
        losses.clear()
        for index in torch.randperm(len(x), generator=generator).tensor_split(batches):
            value = loss(model, x[index], y[index])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            losses.append(value.item())
    model.eval()
    return fmean(losses)


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Of logits with the classes along the second axis."""
    return nn.functional.cross_entropy(model(x), y)


def batched(x: Tensor, y: Tensor, size: int = 100) -> list[tuple[Tensor, Tensor]]:
    """Pairs of a few samples each."""
    return list(zip(x.split(size), y.split(size), strict=True))


def dial(stops: Sequence[float | Budget]) -> Iterator[tuple[str, Policy]]:
    """Names and stops of the dial, from strict to unconstrained; a number s is ``Exponential(s)``."""
    for stop in stops:
        if isinstance(stop, Budget):
            yield f"budget {stop.eta:g}", stop
        else:
            yield {0.0: "strict (0)", 1.0: "unconstrained (1)"}.get(stop, f"soft {stop:g}"), Exponential(stop)


class Table:
    """Rows of numbers, one a network and seed, shown as means and standard deviations over the seeds.

    Args:
        **columns: a name for each number with the format of its mean, such as ``accuracy=".1f"``.
    """

    def __init__(self, **columns: str) -> None:
        self._columns, self._start = columns, time.perf_counter()
        self._rows: dict[str, list[dict[str, float]]] = {}

    def add(self, name: str, **numbers: float) -> None:
        """What one network did at one seed."""
        assert numbers.keys() == self._columns.keys()
        self._rows.setdefault(name, []).append(numbers)

    def means(self, column: str) -> dict[str, float]:
        """Of one column, network by network."""
        return {name: fmean(run[column] for run in runs) for name, runs in self._rows.items()}

    def print(self) -> None:
        """The table, and how long it took to fill."""
        lines = [["network", *(column.replace("_", " ") for column in self._columns)]]
        for name, runs in self._rows.items():
            lines.append([name, *(_cell([run[c] for run in runs], form) for c, form in self._columns.items())])
        print(aligned(lines))
        print(f"\n{time.perf_counter() - self._start:.0f} s")


def _cell(values: Sequence[float], form: str) -> str:
    spread = f" ± {stdev(values):{form}}" if len(values) > 1 else ""
    return f"{fmean(values):{form}}{spread}"
