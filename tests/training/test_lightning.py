"""The callback keeps the dial where the schedule has it, whatever a Trainer does, and writes it down."""

from __future__ import annotations

import runpy
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from escnn_soft import LinearSchedule, dials
from escnn_soft.errors import ArgumentError
from escnn_soft.training import softness_scalars
from tests.workflows.test_trainers import (
    EPOCHS,
    SCHEDULE,
    STEPS,
    batches,
    lightning_module,
    lightning_trainer,
    make_optimizer,
    network,
)

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
from lightning.pytorch.loggers.logger import Logger  # noqa: E402

from escnn_soft.training import lightning as room  # noqa: E402
from escnn_soft.training.lightning import SoftnessCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # lightning's, about its own surroundings


class Diary(Logger):
    """A logger that keeps what it gets."""

    name, version = "diary", 0

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics, step=None) -> None:
        self.pages.append((step, dict(metrics)))

    def log_hyperparams(self, *_, **__) -> None:
        pass


class Watch(lightning.Callback):
    """Notes the softness that each batch is trained with."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        softness = pl_module.model.stem.softness
        self.seen.append(round(softness, 6) if isinstance(softness, float) else softness)


def module(kind: str = "scheduled"):
    return lightning_module(lightning, network(kind), lambda model: make_optimizer(model, "plain"))


def expected(*steps: int, schedule=SCHEDULE) -> list[float]:
    return [round(schedule(step).softness, 6) for step in steps]


def fit(tmp_path, callback, *, model=None, loader=None, ckpt_path=None, **options):
    """Train; the trainer, the module and the softness of each batch."""
    model, watch = model or module(), Watch()
    options = {"max_epochs": EPOCHS, **options}
    trainer = lightning_trainer(lightning, tmp_path, callbacks=[callback, watch], **options)
    trainer.fit(model, loader or batches(), ckpt_path=ckpt_path)
    return trainer, model, watch.seen


def test_a_step_is_a_step_of_the_optimiser(tmp_path) -> None:
    _, model, seen = fit(tmp_path, SoftnessCallback(SCHEDULE), accumulate_grad_batches=2)
    assert seen == expected(0, 0, 1, 1, 2, 2, 3, 3)
    assert all(dial.softness == SCHEDULE(4).softness for dial in dials(model).values())


def test_by_epochs(tmp_path) -> None:
    schedule = LinearSchedule(0.8, 0.2, steps=EPOCHS)
    _, model, seen = fit(tmp_path, SoftnessCallback(schedule, interval="epoch"))
    assert seen == expected(*[0] * STEPS, *[1] * STEPS, schedule=schedule)
    assert model.model.stem.softness == pytest.approx(0.2)


def test_a_training_that_goes_on_without_a_checkpoint_of_the_callback(tmp_path) -> None:
    trainer, model, _ = fit(tmp_path, lightning.Callback(), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    _, _, seen = fit(tmp_path, SoftnessCallback(SCHEDULE), model=model, ckpt_path=tmp_path / "plain.ckpt")
    assert seen == expected(4, 5, 6, 7)


def test_a_trainer_that_fits_again_goes_on(tmp_path) -> None:
    trainer, model, _ = fit(tmp_path, SoftnessCallback(SCHEDULE), max_epochs=1)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(model, batches())
    assert trainer.callbacks[1].seen == expected(*range(8))


def test_a_model_is_tested_at_the_softness_of_its_checkpoint(tmp_path) -> None:
    trainer, _, _ = fit(tmp_path, SoftnessCallback(SCHEDULE), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    fresh, callback = module(), SoftnessCallback(SCHEDULE)
    tester = lightning_trainer(lightning, tmp_path, callbacks=[callback])
    tester.test(fresh, batches(), verbose=False)
    assert fresh.model.stem.softness == 0.5  # as it came
    tester.test(fresh, batches(), ckpt_path=tmp_path / "first.ckpt", verbose=False)
    assert fresh.model.stem.softness == SCHEDULE(STEPS).softness


def test_schedule_and_projection_together(tmp_path) -> None:
    callback = SoftnessCallback(LinearSchedule(0.8, 0.2, steps=7), project=True)
    _, model, _ = fit(tmp_path, callback, model=module("projected"))
    stem = model.model.stem
    assert stem.softness == pytest.approx(0.2)
    assert stem.certificate().relative.sup <= stem.bound()


def test_projection_ends_with_the_training(tmp_path) -> None:
    made: list[torch.optim.Optimizer] = []
    model = network("projected")

    def optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
        made.append(make_optimizer(model, "plain"))
        return made[-1]

    fit(tmp_path, SoftnessCallback(project=True), model=lightning_module(lightning, model, optimizer))
    with torch.no_grad():
        model.stem.dense.weight.normal_()
    before = model.stem.dense.weight.clone()
    model.zero_grad()
    made[0].step()
    assert torch.equal(model.stem.dense.weight, before)


def test_loggers_get_the_numbers_at_the_beginning_the_end_and_between(tmp_path) -> None:
    diaries = [Diary(), Diary()]
    callback = SoftnessCallback(SCHEDULE, certificates=True)
    _, model, _ = fit(tmp_path, callback, logger=diaries, log_every_n_steps=3)
    pages = [page for page in diaries[0].pages if "softness/model.stem" in page[1]]
    assert [step for step, _ in pages] == [0, 3, 6, 8]
    assert [page["softness/model.stem"] for _, page in pages] == pytest.approx(expected(0, 3, 6, 8))
    assert pages[-1][1] == softness_scalars(model, certificates=True)
    assert all(page["certified_sup/model.stem"] <= page["bound/model.stem"] for _, page in pages)
    assert diaries[0].pages == diaries[1].pages


def test_accumulated_batches_are_written_once(tmp_path) -> None:
    diary = Diary()
    fit(tmp_path, SoftnessCallback(SCHEDULE), logger=diary, log_every_n_steps=1, accumulate_grad_batches=2)
    assert [step for step, page in diary.pages if "bound/model.stem" in page] == [0, 1, 2, 3, 4]


def test_without_loggers_or_with_log_off_nothing_is_written(tmp_path) -> None:
    diary = Diary()
    fit(tmp_path, SoftnessCallback(SCHEDULE, log=False), logger=diary, log_every_n_steps=1)
    assert not any("bound/model.stem" in page for _, page in diary.pages)


def test_wrong_arguments_and_models_are_refused(tmp_path) -> None:
    with pytest.raises(ArgumentError, match=r"'step' or 'epoch' but got interval='batch'.*Say when"):
        SoftnessCallback(SCHEDULE, interval="batch")
    plain = lightning_module(lightning, torch.nn.Linear(2, 2), lambda model: make_optimizer(model, "plain"))
    loader = DataLoader([(torch.ones(2), 0)])
    with pytest.raises(ArgumentError, match="a model with soft layers"):
        fit(tmp_path, SoftnessCallback(SCHEDULE), model=plain, loader=loader)
    with pytest.raises(ArgumentError, match="a model with projected layers"):
        fit(tmp_path, SoftnessCallback(project=True))


def test_the_older_name_of_the_package_will_do(monkeypatch, tmp_path) -> None:
    older = pytest.importorskip("pytorch_lightning", reason="pytorch_lightning is not installed")
    for name in ("lightning", "lightning.pytorch"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    callback = runpy.run_path(room.__file__)["SoftnessCallback"](SCHEDULE)
    assert isinstance(callback, older.Callback)
    assert not isinstance(callback, lightning.Callback)
    model = lightning_module(older, network("scheduled"), lambda model: make_optimizer(model, "plain"))
    lightning_trainer(older, tmp_path, callbacks=[callback], max_epochs=1).fit(model, batches())
    assert model.model.stem.softness == SCHEDULE(STEPS).softness
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    with pytest.raises(ModuleNotFoundError, match="pytorch_lightning"):
        runpy.run_path(room.__file__)
