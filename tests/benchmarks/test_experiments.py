"""The experiments run, are repeatable, and their strict networks are strict."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from escnn_soft import Graded, metrics
from escnn_soft.cli.settings import Settings

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SMALL = {
    "segmentation": {"images": 32, "tests": 4, "epochs": 2, "fields": 1, "wide": 2},
    "pedestrians": {"scenes": 50, "tests": 4, "epochs": 2, "width": 2, "wide": 4},
    "digits": {"settings": Settings(images=5, tests=5, probes=10, epochs=1, fields=(2, 2, 2))},
    "vit_digits": {"first": 100, "tuning": 50, "tests": 50, "epochs": (1, 1)},
}
ERRORS = {"segmentation": "error", "digits": "error", "pedestrians": "eErr", "vit_digits": "invariance_error"}


def experiment(name: str, monkeypatch):
    """The module of an experiment, which finds its neighbours as it does when it runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.mark.parametrize("name", SMALL)
def test_experiment(name, monkeypatch, capsys) -> None:
    module = experiment(name, monkeypatch)
    networks = [module.Contender(Graded(s), how) for s, how in ((0.0, "Adam"), (1.0, "Adam"), (0.1, "LayerwiseAdam"))]
    table = module.experiment(networks, 1, rates=(0.01,), **SMALL[name])
    errors = table.means(ERRORS[name])
    assert errors["strict (0), Adam"] < 1e-5
    assert errors["unconstrained (1), Adam"] > 1e-4
    assert 1e-5 < errors["soft 0.1, LayerwiseAdam"] < 2
    again = module.experiment(networks[:1], 1, rates=(0.01,), **SMALL[name])
    assert again.means(ERRORS[name])["strict (0), Adam"] == errors["strict (0), Adam"]
    table.print()
    assert "strict (0)" in capsys.readouterr().out


def test_the_rate_is_chosen_on_validation_data(monkeypatch) -> None:
    shared = experiment("_experiments", monkeypatch)
    contender = shared.field_of(1.0, ours=(0.5,))[-1]
    assert contender.name == "soft 0.5, DampedMuon"
    fits = []

    def fit(which, rate, seed):
        fits.append((which.name, rate, seed))
        return SimpleNamespace(rate=rate, seed=seed)

    found = list(shared.tuned(contender, 3, (0.1, 0.2, 0.3), fit, lambda m: -abs(m.rate - 0.19)))
    assert [(seed, rate, model.rate, model.seed) for seed, rate, model in found] == [(i, 0.2, 0.2, i) for i in range(3)]
    assert len(fits) == 5


@pytest.mark.parametrize("east", [0.0, 0.3])
def test_only_the_exit_breaks_the_simulators_symmetry(east, monkeypatch) -> None:
    """Turning everybody's start and heading turns the future, unless there is an east."""
    pedestrians = experiment("pedestrians", monkeypatch)
    turn = metrics.point_rotations([70])[0]
    position, angle = 3 * torch.randn(4, 5, 2).double(), torch.randn(4, 5).double()
    speed = torch.ones(4, 5).double()
    paths = pedestrians.walk(position, angle, speed, east)
    turned = pedestrians.walk(turn.on_input(position), angle + torch.pi * 70 / 180, speed, east)
    gap = (turn.on_output(paths) - turned).norm(dim=-1).max()
    assert gap < 1e-10 if east == 0 else gap > 0.1
