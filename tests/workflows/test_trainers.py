"""Lightning and accelerate train what a loop of one's own trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from escnn_soft import Cutoff, LinearSchedule, SoftnessScheduler, soften
from escnn_soft.convert import project_after_step, projected
from tests.convert.models import Classifier
from tests.disturbance import disturb

STEPS, EPOCHS = 4, 2
SCHEDULE = LinearSchedule(0.8, 0.2, steps=STEPS * EPOCHS)


def network(kind: str) -> torch.nn.Module:
    model = Classifier()
    if kind == "projected":
        return projected(disturb(soften(model, Cutoff(1.0)), generator=torch.Generator().manual_seed(0)))
    return disturb(soften(model, 0.5), generator=torch.Generator().manual_seed(0))


def batches() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    data = [(torch.randn(3, 7, 7, generator=generator), i % 5) for i in range(2 * STEPS)]
    return DataLoader(data, batch_size=2)


def make_optimizer(model: torch.nn.Module, kind: str) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    if kind == "projected":
        project_after_step(model, optimizer)
    return optimizer


def lightning_module(lightning: Any, model: torch.nn.Module, optimizer: Callable[..., Any]) -> Any:
    """A classifier for a Trainer of either package."""

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch, index):
            x, y = batch
            return torch.nn.functional.cross_entropy(self.model(x), y)

        def test_step(self, batch, index):
            self.training_step(batch, index)

        def configure_optimizers(self):
            return optimizer(self.model)

    return Module()


def lightning_trainer(lightning: Any, folder: Path, **options: Any) -> Any:
    """A Trainer on the CPU that says and keeps nothing unasked."""
    quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "logger"), False)
    return lightning.Trainer(**{"accelerator": "cpu", "default_root_dir": folder, **quiet, **options})


def by_hand(kind: str) -> torch.nn.Module:
    model = network(kind)
    optimizer = make_optimizer(model, kind)
    scheduler = SoftnessScheduler(model, SCHEDULE) if kind == "scheduled" else None
    for _ in range(EPOCHS):
        for x, y in batches():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            if scheduler:
                scheduler.step()
    return model


def check(model: torch.nn.Module, kind: str) -> None:
    """The model has the weights and the dial of the loop by hand, and they moved."""
    wanted, first = by_hand(kind).state_dict(), network(kind).state_dict()
    assert model.state_dict().keys() == wanted.keys()
    for name, value in model.state_dict().items():
        assert (value.cpu() - wanted[name]).abs().max() < 1e-6, name
    assert max((wanted[name] - first[name]).abs().max() for name in wanted) > 1e-2
    if kind == "scheduled":
        assert model.stem.softness == pytest.approx(0.2)
    if kind == "projected":
        weight, bias = model.stem.dense.weight, model.stem.dense.bias
        assert (model.stem.allowed(weight, bias)[0] - weight).abs().max() < 1e-6


@pytest.mark.filterwarnings("ignore")  # lightning's, about its own surroundings
@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize("kind", ["scheduled", "projected"])
def test_lightning(package, kind, tmp_path) -> None:
    """One epoch, a checkpoint, and another epoch from there."""
    lightning = pytest.importorskip(package, reason=f"{package} is not installed")
    from escnn_soft.training.lightning import SoftnessCallback  # needs lightning

    checkpoint = tmp_path / "first.ckpt"
    for epoch in range(EPOCHS):
        module = lightning_module(lightning, network(kind), lambda model: make_optimizer(model, "plain"))
        callback = SoftnessCallback(SCHEDULE) if kind == "scheduled" else SoftnessCallback(project=True)
        trainer = lightning_trainer(lightning, tmp_path, max_epochs=epoch + 1, callbacks=[callback])
        trainer.fit(module, batches(), ckpt_path=checkpoint if epoch else None)
        trainer.save_checkpoint(checkpoint)
    check(module.model, kind)


@pytest.mark.parametrize("kind", ["scheduled", "projected"])
def test_accelerate(kind, tmp_path) -> None:
    """One epoch, a checkpoint, and another epoch from there."""
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    for epoch in range(EPOCHS):
        accelerator = accelerate.Accelerator(cpu=True)
        model = network(kind)
        model, optimizer, loader = accelerator.prepare(model, make_optimizer(model, kind), batches())
        scheduler = SoftnessScheduler(model, SCHEDULE) if kind == "scheduled" else None
        if scheduler:
            accelerator.register_for_checkpointing(scheduler)
        if epoch:
            accelerator.load_state(tmp_path)
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(torch.nn.functional.cross_entropy(model(x), y))
            optimizer.step()
            if scheduler:
                scheduler.step()
        accelerator.save_state(tmp_path)
    check(accelerator.unwrap_model(model), kind)
