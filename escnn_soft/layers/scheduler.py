"""Softness over time, by the conventions of torch's learning-rate schedulers."""

from __future__ import annotations

from typing import Any

from torch.nn import Module

from escnn_soft._checks import integer
from escnn_soft.dial import Policy, Schedule, as_policy
from escnn_soft.errors import ArgumentError
from escnn_soft.layers.dials import dials

__all__ = ["SoftnessScheduler"]


class SoftnessScheduler:
    """Sets the softness of all soft layers of a model at each step, as ``torch.optim.lr_scheduler`` sets rates.

    The softness of step 0 is set at once; call :meth:`step` after each optimiser step, or each epoch.

    Args:
        model: a model with soft layers or filters.
        schedule: a function from the step to a softness: a float or a policy.
        last_epoch: the step to resume after; -1 to begin.

    Raises:
        ArgumentError: if the model has no soft layer.
        SoftnessError: if the schedule returns neither a number in [0, 1] nor a policy.

    Example:
        >>> from escnn import gspaces
        >>> from escnn_soft import LinearSchedule, SoftR2Conv
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(space.regular_repr)
        >>> layer = SoftR2Conv(field, field, kernel_size=3)
        >>> scheduler = SoftnessScheduler(layer, LinearSchedule(1.0, 0.0, steps=10))
        >>> for _ in range(5):
        ...     scheduler.step()
        >>> layer.softness
        0.5
    """

    def __init__(self, model: Module, schedule: Schedule, last_epoch: int = -1) -> None:
        self.dials = list(dials(model).values())
        if not self.dials:
            raise ArgumentError("model", model, "a model with soft layers", "Soften a layer first.")
        self.schedule = schedule
        self.last_epoch = integer("last_epoch", last_epoch, minimum=-1)
        for dial in self.dials:
            dial.scheduled = True
        self.step()

    def step(self) -> None:
        """Go on to the next step and set its softness."""
        self._go(self.last_epoch + 1)

    def _go(self, epoch: int) -> None:
        policy = as_policy(self.schedule(epoch))
        for dial in self.dials:
            dial.accepted(policy)
        self.last_epoch = epoch
        for dial in self.dials:
            dial.softness = policy

    def get_last_softness(self) -> float | Policy:
        """The softness that was set last, as ``layer.softness`` gives it."""
        return self.dials[0].softness

    def state_dict(self) -> dict[str, Any]:
        """The step, for :meth:`load_state_dict`; the schedule is code, and stays with the program."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume: take over the step and set its softness."""
        self._go(integer("last_epoch", state_dict["last_epoch"], minimum=0))
