"""All trainings of the demo: every network at every seed, some at the same time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

import torch
from torch import Tensor

from escnn_soft.cli.classifier import Network, SoftClassifier
from escnn_soft.cli.digits import load_digits, split
from escnn_soft.cli.guarantee import Guarantee, guarantee
from escnn_soft.cli.settings import Settings
from escnn_soft.cli.table import Row, tabulate
from escnn_soft.cli.training import Outcome, measure
from escnn_soft.grading import WeightSpectrum

__all__ = ["PLAIN", "Study", "networks", "study"]

PLAIN = "plain torch"
"""Name of the network without escnn."""


@dataclass(frozen=True, eq=False)
class Study:
    """What the trainings of one run brought.

    Attributes:
        rows: the table.
        filters: for each stop, the filters of one field, turned back, at seed 0.  # shape of each: (4, 5, 5)
        spectra: for each stop, the spectrum of each layer at seed 0.
        guarantees: for each stop, measured errors and certified bounds at seed 0.
        seconds: time that it took.
    """

    rows: tuple[Row, ...]
    filters: dict[str, Tensor]
    spectra: dict[str, tuple[WeightSpectrum, ...]]
    guarantees: tuple[Guarantee, ...]
    seconds: float


@dataclass(frozen=True)
class _Job:
    settings: Settings
    network: Network
    seed: int


@dataclass(frozen=True, eq=False)
class _Result:
    outcome: Outcome
    reachable: int
    state: dict[str, Tensor]


def networks(settings: Settings) -> tuple[Network, ...]:
    """The networks of a run: the stops of the dial from strict to unconstrained, then those to compare with."""
    small = settings.fields
    wide = (settings.wide * small[0], settings.wide * small[1], settings.wide * small[2])
    dial = [Network(f"{softness:g}", softness, small, on_dial=True) for softness in settings.softness]
    strict = [Network(f"strict, {settings.wide} x wide", 0.0, wide, on_dial=False)] if settings.wide > 1 else []
    return (*dial, *strict, Network(PLAIN, None, small, on_dial=False))


def study(settings: Settings, workers: int, on_result: Callable[[str], object]) -> Study:
    """Train and measure every network of a run. The results do not depend on the number of workers.

    Args:
        settings: what to run.
        workers: trainings at the same time, each in a process of its own with one thread; 1 stays in this process.
        on_result: called with the name of each network that is done.

    Returns:
        The results.

    Raises:
        ArgumentError: if there are too few images of a digit.
    """
    start = time.perf_counter()
    line = networks(settings)
    jobs = [_Job(settings, network, seed) for network in line for seed in range(settings.seeds)]
    results: dict[tuple[Network, int], _Result] = {}
    # the widest first, so that no worker is left alone with it at the end
    for job, result in _run_all(sorted(jobs, key=lambda job: -sum(job.network.fields)), workers):
        results[job.network, job.seed] = result
        on_result(job.network.name)
    filters: dict[str, Tensor] = {}
    spectra: dict[str, tuple[WeightSpectrum, ...]] = {}
    guarantees: list[Guarantee] = []
    images = split(_digits(settings.angle), settings.images, settings.tests, 0).test.images[: settings.certified]
    for network in line:
        if network.on_dial:
            model = network.build(0)
            assert isinstance(model, SoftClassifier)
            model.load_state_dict(results[network, 0].state)
            filters[network.name], spectra[network.name] = model.field_filters(), model.spectra()
            guarantees.append(guarantee(network.name, model.eval(), images))
    rows = tabulate(
        [
            (network, results[network, 0].reachable, [results[network, s].outcome for s in range(settings.seeds)])
            for network in line
        ]
    )
    return Study(rows, filters, spectra, tuple(guarantees), time.perf_counter() - start)


def _run_all(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[_Job, _Result]]:
    """Results in the order in which they are done."""
    if workers == 1:
        yield from ((job, _run(job)) for job in jobs)
        return
    # spawn: a fork would inherit torch's threads in the middle of their work
    pool = ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), _start_worker)
    try:
        futures = {pool.submit(_run, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # on Ctrl-C end at once and silently; the parent reports
    torch.set_num_threads(1)


def _run(job: _Job) -> _Result:
    settings = job.settings
    parts = split(_digits(settings.angle), settings.images, settings.tests, job.seed)
    model = job.network.build(job.seed)
    outcome = measure(model, parts, settings, job.seed)
    return _Result(outcome, model.reachable(), model.state_dict() if job.seed == 0 and job.network.on_dial else {})


_digits = cache(load_digits)
