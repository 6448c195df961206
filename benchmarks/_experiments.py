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

from escnn_soft import Budget, Graded, Policy, dials
from escnn_soft.cli.table import aligned
from escnn_soft.cli.training import MakeOptimizer, adam
from escnn_soft.training import DampedMuon, LayerwiseAdam

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "Adam": adam,
    "LayerwiseAdam": lambda model, rate: LayerwiseAdam(model, lr=rate),
    "DampedMuon": lambda model, rate: DampedMuon(model, lr=rate),
}


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
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    *,
    epochs: int,
    batch: int,
    rate: float,
    seed: int,
    optimizer: MakeOptimizer = adam,
) -> float:
    """One learning-rate cycle, no weight decay; returns the mean loss of the last epoch."""
    generator = torch.Generator().manual_seed(seed)
    training = optimizer(model, rate)
    batches = max(len(x) // batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(training, rate, total_steps=epochs * batches)
    model.train()
    losses: list[float] = []
    for _ in range(epochs):
        losses.clear()
        for index in torch.randperm(len(x), generator=generator).tensor_split(batches):
            value = loss(model, x[index], y[index])
            training.zero_grad()
            value.backward()
            training.step()
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


@dataclass(frozen=True)
class Contender:
    """A network of an experiment, before it is built.

    Attributes:
        softness: of its layers.
        optimizer: which of ``OPTIMIZERS`` trains it.
        wide: whether it is made wider, to have as many parameters as an unconstrained one.
    """

    softness: Policy
    optimizer: str = "Adam"
    wide: bool = False

    @property
    def name(self) -> str:
        """In the table."""
        if isinstance(self.softness, Budget):
            name = f"budget {self.softness.eta:g}"
        else:
            assert isinstance(self.softness, Graded)
            s = self.softness.softness
            name = {0.0: "strict (0)", 1.0: "unconstrained (1)"}.get(s, f"soft {s:g}")
        return f"{name}{' wide' * self.wide}, {self.optimizer}"


def field_of(*stops: float | Budget, ours: Sequence[float] = ()) -> list[Contender]:
    """The strict network, narrow and wide; stops of the dial under Adam; some under the optimisers that keep symmetry.

    Args:
        *stops: of the dial, under Adam; a number s is ``Graded(s)``.
        ours: stops under ``LayerwiseAdam`` and ``DampedMuon``.

    Returns:
        The networks, in the order of the table.
    """
    policies = [stop if isinstance(stop, Budget) else Graded(stop) for stop in stops]
    under_adam = [Contender(policy) for policy in policies]
    theirs = [Contender(Graded(s), name) for name in ("LayerwiseAdam", "DampedMuon") for s in ours]
    return [Contender(Graded(0.0)), Contender(Graded(0.0), wide=True), *under_adam, *theirs]


def breaking_share(model: nn.Module) -> float:
    """Mean over the dials of the norm of what breaks the symmetry, relative to that of the whole weight."""
    spectra = [dial.spectrum() for dial in dials(model).values()]
    return fmean(spectrum.breaking_share**0.5 for spectrum in spectra if spectrum.energy > 0)


def tuned(
    contender: Contender,
    seeds: int,
    rates: Sequence[float],
    fit: Callable[[Contender, float, int], nn.Module],
    score: Callable[[nn.Module], float],
) -> Iterator[tuple[int, float, nn.Module]]:
    """A network for each seed, all at the rate that is best at the first seed.

    Args:
        contender: what is trained.
        seeds: how many.
        rates: the grid; the same for every network.
        fit: from contender, rate and seed to a network.
        score: of a network of the first seed, on validation data.

    Yields:
        Seed, rate and network.
    """
    first = {rate: fit(contender, rate, 0) for rate in rates}
    best = max(rates, key=lambda rate: score(first[rate]))
    yield 0, best, first[best]
    for seed in range(1, seeds):
        yield seed, best, fit(contender, best, seed)


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
