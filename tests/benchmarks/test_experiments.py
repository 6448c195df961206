"""The experiments run, are repeatable, and their strict networks are strict."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from escnn_soft import metrics

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SMALL = {
    "segmentation": {"images": 32, "tests": 4, "epochs": 2, "fields": 1},
    "pedestrians": {"scenes": 50, "tests": 4, "epochs": 2, "width": 2},
    "vit_digits": {"first": 100, "tuned": 50, "tests": 50, "epochs": (1, 1)},
}
ERRORS = {"segmentation": "error", "pedestrians": "eErr", "vit_digits": "invariance_error"}


def experiment(name: str, monkeypatch):
    """The module of an experiment, which finds its neighbours as it does when it runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.mark.parametrize("name", SMALL)
def test_experiment(name, monkeypatch, capsys) -> None:
    module = experiment(name, monkeypatch)
    table = module.experiment([0.0, 1.0], 1, **SMALL[name])
    errors = table.means(ERRORS[name])
    assert errors["strict (0)"] < 1e-5
    assert errors["unconstrained (1)"] > 1e-4
    again = module.experiment([0.0, 1.0], 1, **SMALL[name])
    assert again.means(ERRORS[name]) == errors
    table.print()
    assert "strict (0)" in capsys.readouterr().out


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
