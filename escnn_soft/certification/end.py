"""The error of the whole network at its end, which the bound of single elements need not exceed."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from escnn_soft.certification.fact import sample_norms
from escnn_soft.certification.guard import Guarded
from escnn_soft.certification.known_errors import SLACK
from escnn_soft.certification.nested import fields, tensor_of

__all__ = ["rounding_at_the_end"]

_ELSEWHERE = 2.0
"""Sums in another order may round so many times as much as here."""


def rounding_at_the_end(
    run: Guarded, x: Tensor, out: Tensor, moved: dict[int, tuple[Tensor, Tensor]]
) -> dict[int, Tensor] | None:
    """||fl f(x) - f(x)|| + ||fl f(g x) - f(g x)||, twice, the exact f by the model in double precision.

    Args:
        run: the model.
        x: the input.
        out: the model's output on it.
        moved: g x and the output on it, by row.

    Returns:
        The sum, by row, sample by sample; None if the model does not run in double precision or has it already.
    """
    if out.dtype == torch.float64 or x.dtype == torch.float64:
        return None
    try:
        double = replace(run, model=copy.deepcopy(run.model).double())
    except Exception:  # whatever a model may raise
        return None
    still = _error(double, x, out)
    found = {row: _error(double, y, image) for row, (y, image) in moved.items()}
    if still is None or any(error is None for error in found.values()):
        return None
    return {row: _ELSEWHERE * (still + error) * (1 + SLACK) for row, error in found.items() if error is not None}


def _error(double: Guarded, x: Tensor, out: Tensor) -> Tensor | None:
    try:
        exact = next(fields(double(x.double())))
    except Exception:  # whatever a model may raise
        return None
    exact = tensor_of(exact)
    if exact.dtype != torch.float64 or exact.shape != out.shape:
        return None
    error = sample_norms(out.double() - exact)
    return error if bool(torch.isfinite(error).all()) else None
