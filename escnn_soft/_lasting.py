"""Building what outlives the call that builds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["lasting"]


@contextmanager
def lasting() -> Iterator[None]:
    """What is built here serves training too and begins on the CPU, whatever the caller's modes are.

    A dial may be put on a model inside ``torch.inference_mode()``, or while another library builds the model on the
    meta device.
    """
    with torch.inference_mode(False), torch.device("cpu"):
        yield
