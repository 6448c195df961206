"""A network of softness 1 ends with the symmetry that its data have, and with no other: images, volumes, vectors."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

OURS = ["LayerwiseAdam", "DampedMuon"]
KINDS = ["images", "volumes", "vectors"]
STEPS = 100
KEPT_BY_THE_SECOND = {"images": 4, "volumes": 4, "vectors": 8}


@pytest.fixture(autouse=True)
def _neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks find each other as they do when they run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@cache
def problem(kind: str) -> Any:
    return importlib.import_module("symmetry_of_data").PROBLEMS[kind]()


def trained(kind: str, target: int, optimizer: str, steps: int = STEPS, dtype: torch.dtype = torch.float32) -> Any:
    """What became of a network: of the first target, kept by all, of the second, kept by some, of the last, by none."""
    name = list(problem(kind).targets)[target]
    return importlib.import_module("symmetry_of_data").outcome(problem(kind), name, optimizer, steps, dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_the_targets_keep_what_they_should(kind) -> None:
    whole, part, nothing = problem(kind).targets.values()
    kept = [[problem(kind).keeps(g, y) for g in problem(kind).actions] for y in (whole, part, nothing)]
    assert all(kept[0])
    assert sum(kept[1]) == KEPT_BY_THE_SECOND[kind]
    assert kept[2] == [True] + [False] * (len(kept[2]) - 1)


@pytest.mark.parametrize("optimizer", OURS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_symmetry_of_the_data_is_kept_and_no_other(kind, optimizer) -> None:
    found = trained(kind, 1, optimizer)
    assert found.kept[1] < 1e-4
    assert found.broken[0] > 0.3


@pytest.mark.parametrize("optimizer", OURS)
@pytest.mark.parametrize("kind", KINDS[1:])
def test_all_of_it_is_kept(kind, optimizer) -> None:
    found = trained(kind, 0, optimizer, steps=50)
    assert found.kept[1] < 1e-5
    assert found.broken is None
    assert found.loss < 1


@pytest.mark.parametrize("optimizer", OURS)
def test_a_square_becomes_a_rectangle_in_double_precision(optimizer) -> None:
    found = trained("images", 1, optimizer, dtype=torch.float64)
    assert found.kept[1] < 1e-8
    assert found.broken[0] > 0.3


@pytest.mark.parametrize("optimizer", OURS)
def test_a_square_becomes_noise_and_keeps_nothing(optimizer) -> None:
    found = trained("images", 2, optimizer)
    assert found.kept is None
    assert found.broken[0] > 0.5


def test_adam_loses_what_the_data_keep() -> None:
    assert trained("images", 1, "Adam").kept[1] > 1e-3
