"""Building what outlives the call that builds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["lasting", "place"]


@contextmanager
def lasting() -> Iterator[None]:
    """What is built here serves training too and begins on the CPU, whatever the caller's modes are.

    A dial may be put on a model inside ``torch.inference_mode()``, or while another library builds the model on the
    meta device.
    """
    with torch.inference_mode(False), torch.device("cpu"):
        yield


def place(weight: Tensor) -> tuple[torch.device, torch.dtype]:
    """Where the levels and gains of a weight are to be: beside it.

    A weight on the meta device is on its way to another one. Levels are numbers, which wait for it on the CPU.

    Args:
        weight: the weight.

    Returns:
        The device and the dtype.
    """
    return torch.device("cpu") if weight.is_meta else weight.device, weight.dtype
