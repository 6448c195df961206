"""The largest entries of a tensor, and the scale in which no square of them under- or overflows."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["largest", "largest_of_columns", "scale_of"]


def largest(values: Tensor) -> Tensor:
    """The largest absolute value, without a derivative; 0 of nothing."""
    values = values.detach()
    if not values.numel():
        return values.new_zeros(())
    if torch.compiler.is_compiling():
        return values.abs().max()
    low, high = values.aminmax()  # a tenth of the time of the norm, but no exporter has it
    return torch.maximum(-low, high)


def largest_of_columns(values: Tensor) -> Tensor:
    """Likewise of each column of (rows, columns), of which there are some."""
    values = values.detach()
    if torch.compiler.is_compiling():
        return values.abs().amax(0)
    low, high = values.aminmax(dim=0)
    return torch.maximum(-low, high)


def scale_of(most: Tensor, beside: Tensor | None) -> Tensor:
    """1 / the larger of two numbers, a largest entry and what stands beside it; 1 if both are 0."""
    if beside is not None:
        most = torch.maximum(most, beside.detach().to(most))
    return 1 / torch.where(most > 0, most.clamp(min=torch.finfo(most.dtype).tiny), 1.0)  # or it may be infinite
