"""The numbers that are written down are those of the dials, and every tracker gets them."""

from __future__ import annotations

import logging

import pytest
import torch

import escnn_soft as es
from escnn_soft.errors import ArgumentError
from escnn_soft.groups import lorentz_group, vector
from escnn_soft.training import log_softness, softness_scalars
from tests.kinds import table
from tests.workflows.carriers import CARRIERS, filled


def model() -> torch.nn.Module:
    return torch.nn.ModuleDict({name: filled(CARRIERS[name]()) for name in ("R2Conv C8", "filter C4", "MatrixLinear")})


class Writer:
    """tensorboard's SummaryWriter, of which only ``add_scalar`` is asked."""

    def __init__(self) -> None:
        self.got: list[tuple[str, float, int | None]] = []

    def add_scalar(
        self, tag, scalar_value, global_step=None, walltime=None, new_style=False, double_precision=False
    ) -> None:
        self.got.append((tag, scalar_value, global_step))


class Run:
    """A run of wandb."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, float], int | None]] = []

    def log(self, data, step=None, commit=None) -> None:
        self.got.append((data, step))


class Metrics(Run):
    """A logger of Lightning's, which has other methods too."""

    def log_metrics(self, metrics, step=None) -> None:
        self.got.append((metrics, step))

    def log(self, *_) -> None:
        raise AssertionError


def test_every_dial_has_the_numbers_that_it_says() -> None:
    net = model()
    es.set_softness(net, 0.3, per_layer={"R2Conv C8": es.Cutoff(1.5), "MatrixLinear": es.Exponential(0.5)})
    scalars = softness_scalars(net, certificates=True, levels=True)
    for name, dial in es.dials(net).items():
        spectrum, relative = dial.spectrum(), dial.certificate().relative
        assert scalars.pop(f"bound/{name}") == dial.bound()
        assert scalars.pop(f"breaking/{name}") == spectrum.breaking / spectrum.energy > 0
        assert scalars.pop(f"certified_sup/{name}") == relative.sup
        assert scalars.pop(f"certified_rms/{name}") == relative.rms
        for part, levels in (("", spectrum.levels), ("bias ", spectrum.bias)):
            for level in levels:
                assert scalars.pop(f"energy/{name}/{part}{level.name}") == level.energy
                assert scalars.pop(f"gain/{name}/{part}{level.name}") == level.gain
    assert scalars == {
        "Cutoff.bound/R2Conv C8": 1.5,
        "softness/filter C4.0": 0.3,
        "Exponential.softness/MatrixLinear": 0.5,
    }


def test_what_costs_or_crowds_is_asked_for() -> None:
    assert set(softness_scalars(model()["filter C4"])) == {"Exponential.softness/0", "bound/0", "breaking/0"}


def test_what_does_not_exist_is_left_out() -> None:
    V = vector(lorentz_group())
    layer = es.SoftMatrixLinear(V, V, softness=es.Exponential(0.5))
    kept = {"Exponential.softness/SoftMatrixLinear", "breaking/SoftMatrixLinear"}
    assert set(softness_scalars(layer, certificates=True)) == kept


def test_a_tensor_between_no_fields_has_no_certificate() -> None:
    assert set(softness_scalars(table(), certificates=True)) == {"softness/table", "bound/table", "breaking/table"}


def test_writers_runs_and_loggers_get_the_same() -> None:
    layer, writer, run, metrics = filled(CARRIERS["R2Conv C4"]()), Writer(), Run(), Metrics()
    for logger in (writer, run, metrics):
        log_softness(logger, layer, 7, levels=True)
    scalars = softness_scalars(layer, levels=True)
    assert writer.got == [(name, value, 7) for name, value in scalars.items()]
    assert run.got == metrics.got == [(scalars, 7)]
    log_softness(run, layer)
    assert run.got[1][1] is None


def test_a_real_summary_writer(tmp_path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard", reason="tensorboard is not installed")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    layer = filled(CARRIERS["R2Conv C4"]())
    with tensorboard.SummaryWriter(tmp_path) as writer:
        log_softness(writer, layer, 3, certificates=True, levels=True)
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    read = {tag: events.Scalars(tag)[0] for tag in events.Tags()["scalars"]}
    scalars = softness_scalars(layer, certificates=True, levels=True)
    assert {tag: event.value for tag, event in read.items()} == pytest.approx(scalars)
    assert {event.step for event in read.values()} == {3}


@pytest.mark.parametrize("logger", [None, print, logging.getLogger("tests"), torch.nn.Identity(), {}])
def test_what_is_no_tracker_is_refused(logger) -> None:
    with pytest.raises(ArgumentError, match=r"a SummaryWriter, a wandb run.*but got logger=.*attribute logger"):
        log_softness(logger, filled(CARRIERS["R2Conv C4"]()))


def test_models_without_dials_and_wrong_steps_are_refused() -> None:
    layer, run = filled(CARRIERS["R2Conv C4"]()), Run()
    with pytest.raises(ArgumentError, match="a model with soft layers"):
        log_softness(run, torch.nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match=r"a Module but got model=3"):
        softness_scalars(3)
    with pytest.raises(ArgumentError, match=r"an integer >= 0 but got step='7'"):
        log_softness(run, layer, "7")
    assert run.got == []
