"""The largest entry of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["largest"]


def largest(values: Tensor) -> Tensor:
    """The largest absolute value, without a derivative; 0 of nothing."""
    values = values.detach()
    if not values.numel():
        return values.new_zeros(())
    if torch.compiler.is_compiling():
        return values.abs().max()
    low, high = values.aminmax()  # a tenth of the time of the norm, but no exporter has it
    return torch.maximum(-low, high)
