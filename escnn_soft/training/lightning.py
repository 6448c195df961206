"""The softness in a Lightning training: scheduled, logged, restored and, where wanted, projected.

Needs ``lightning``, or ``pytorch_lightning``; nothing else in the library imports either.
"""

from __future__ import annotations

from typing import Any

from torch.utils.hooks import RemovableHandle

from escnn_soft.convert import project_after_step
from escnn_soft.dial import Schedule
from escnn_soft.errors import ArgumentError
from escnn_soft.layers import SoftnessScheduler
from escnn_soft.training.tracking import softness_scalars

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:  # the older name of the same package; a Trainer of either takes callbacks of both
    from pytorch_lightning import Callback  # type: ignore[assignment]

__all__ = ["SoftnessCallback"]


class SoftnessCallback(Callback):
    """Turns the dials of the model that a ``Trainer`` fits, and writes down where they are.

    The softness is that of :class:`escnn_soft.SoftnessScheduler` after as many steps as the trainer's ``global_step``
    counts, so that accumulated gradients count once; or after as many epochs as are over. A checkpoint keeps the count,
    also for ``trainer.test(ckpt_path=...)``. The model has its soft layers when the trainer gets it.

    Args:
        schedule: a function from the step, or the epoch, to a softness; None to leave the dials as they are.
        interval: ``step`` or ``epoch``.
        log: whether the trainer's loggers get :func:`softness_scalars`: at the beginning, at the end, and every
            ``log_every_n_steps`` steps in between.
        certificates: as for :func:`softness_scalars`.
        levels: likewise.
        project: whether the weights of a model from :func:`escnn_soft.projected` are brought back after each step, by
            :func:`escnn_soft.project_after_step`; not if ``configure_optimizers`` does so already.

    Raises:
        ArgumentError: if the interval is neither; when training begins, if the model has no soft layer, or none that is
            projected though ``project`` asks for it.

    Example:
        >>> from escnn_soft import LinearSchedule
        >>> callback = SoftnessCallback(LinearSchedule(1.0, 0.1, steps=10_000))
        >>> callback.state_dict()  # Trainer(callbacks=[callback]) has not begun
        {}
    """

    def __init__(
        self,
        schedule: Schedule | None = None,
        *,
        interval: str = "step",
        log: bool = True,
        certificates: bool = False,
        levels: bool = False,
        project: bool = False,
    ) -> None:
        if interval not in ("step", "epoch"):
            raise ArgumentError("interval", interval, "'step' or 'epoch'", "Say when the schedule goes on.")
        self.schedule, self.interval, self.project = schedule, interval, project
        self._writes = log  # Lightning gives every callback a method log
        self._wanted = {"certificates": certificates, "levels": levels}
        self.scheduler: SoftnessScheduler | None = None
        self._model: Any = None
        self._logged: int | None = None
        self._projections: list[RemovableHandle] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Set the first softness: before the optimiser is built, and before a checkpoint is restored."""
        self._model, self._logged = pl_module, None
        if stage == "fit" and self.schedule is not None:
            self.scheduler = SoftnessScheduler(pl_module, self.schedule)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Catch up with a training that goes on, and begin to project."""
        self._follow(trainer.global_step if self.interval == "step" else trainer.current_epoch)
        if self.project:
            self._projections = [project_after_step(pl_module, optimizer) for optimizer in trainer.optimizers]
        self._write(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Go on after each step of the optimiser."""
        if self.interval == "step":
            self._follow(trainer.global_step)
        if trainer.log_every_n_steps and trainer.global_step % trainer.log_every_n_steps == 0:
            self._write(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Go on after each epoch."""
        if self.interval == "epoch":
            self._follow(trainer.current_epoch + 1)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write down the end, and project no more."""
        self._write(trainer)
        for projection in self._projections:
            projection.remove()
        self._projections = []

    def state_dict(self) -> dict[str, Any]:
        """The steps of the schedule that were taken; empty without a schedule."""
        return {} if self.scheduler is None else self.scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the softness that the model of a checkpoint had."""
        if self.schedule is not None:
            self.scheduler = SoftnessScheduler(self._model, self.schedule, state_dict["last_epoch"] - 1)

    def _follow(self, step: int) -> None:
        while self.scheduler is not None and self.scheduler.last_epoch < step:
            self.scheduler.step()

    def _write(self, trainer: Any) -> None:
        """Once a step: several batches may make up one."""
        if self._writes and trainer.loggers and self._logged != trainer.global_step:
            self._logged = trainer.global_step
            scalars = softness_scalars(self._model, **self._wanted)
            for logger in trainer.loggers:
                logger.log_metrics(scalars, trainer.global_step)
