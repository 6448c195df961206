"""Norms and largest entries of weights of any scale: no square under- or overflows."""

from __future__ import annotations

import torch
from torch import Tensor

from escnn_soft.linalg.one_step import one_step

__all__ = ["hypotenuse", "largest", "norm", "norm_of", "scale_of"]

_LONG = 2**16
"""Numbers above which a copy in double precision takes longer than norms of parts."""
_PART = 256
"""Numbers of such a part: their squares are added in single precision, which errs by a few eps."""


def largest(values: Tensor) -> Tensor:
    """The largest absolute value, without a derivative; 0 of nothing."""
    values = values.detach()
    if not values.numel():
        return values.new_zeros(())
    if torch.compiler.is_compiling():
        return values.abs().max()
    low, high = values.aminmax()  # a tenth of the time of the norm, but no exporter has it
    return torch.maximum(-low, high)


def scale_of(most: Tensor, beside: Tensor | None) -> Tensor:
    """1 / the larger of two numbers, a largest entry and what stands beside it; 1 if both are 0."""
    if beside is not None:
        most = torch.maximum(most, beside.detach().to(most))
    return 1 / torch.where(most > 0, most.clamp(min=torch.finfo(most.dtype).tiny), 1.0)  # or it may be infinite


def norm(values: Tensor) -> Tensor:
    """The Euclidean norm, differentiably, with the derivative 0 at 0; in float64."""
    found: list[Tensor] = []

    def forth(values: Tensor) -> Tensor:
        found[:] = (result := norm_of(values),)
        return result

    def back(gradient: Tensor, values: Tensor) -> tuple[Tensor]:
        direction = values.double() / _positive(found[0])  # 1 / norm itself may be out of the range of the values
        return ((direction * gradient).to(values),)

    return one_step(forth, back, values)


def hypotenuse(first: Tensor, second: Tensor) -> Tensor:
    """The norm of two orthogonal parts from those of the parts, with the derivative 0 at 0."""

    def forth(first: Tensor, second: Tensor) -> Tensor:
        some = torch.maximum(first, second) > 0
        return torch.where(some, torch.hypot(torch.where(some, first, 1.0), second), 0.0)

    def back(gradient: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        slope = gradient / _positive(torch.hypot(first, second))
        return slope * first, slope * second

    return one_step(forth, back, first, second)


def norm_of(values: Tensor) -> Tensor:
    """The same, for whoever differentiates it otherwise."""
    values = values.flatten()
    if values.dtype != torch.float64 and values.numel() <= _LONG:
        return torch.linalg.vector_norm(values, dtype=torch.float64)
    scale = scale_of(largest(values), None)
    values = values * scale
    parts, rest = values.split([len(values) // _PART * _PART, len(values) % _PART])
    norms = torch.linalg.vector_norm(parts.view(-1, _PART), dim=1)
    return torch.linalg.vector_norm(torch.cat([norms, rest]), dtype=torch.float64) / scale.double()


def _positive(norm: Tensor) -> Tensor:
    """A norm to divide by; infinite for 0."""
    return norm.masked_fill(norm == 0, torch.inf)
