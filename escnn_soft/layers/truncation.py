"""Soft coefficients cut down to the rank of a layer, and what that leaves out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from escnn_soft.grading import LowRank

__all__ = ["FACTORS", "complete_factors", "truncated"]

FACTORS = ("soft_weights", "soft_out", "soft_in")
"""The parameters of a rank, in the order in which ``LowRank`` takes them."""

_UNSEEN = 1e-5
"""Relative error that is not worth a warning: that of single precision."""


def truncated(
    low_rank: LowRank, coefficients: Tensor, factors: Sequence[Tensor], whole: float | None = None
) -> tuple[Tensor, ...]:
    """Factors that come close to soft coefficients; a warning says how close, unless that is to rounding.

    Args:
        low_rank: the layout.
        coefficients: of all directions outside escnn's basis.  # shape: (directions,)
        factors: U and V as they are.
        whole: norm of the weight that the coefficients belong to; their own if None.

    Returns:
        W, U and V, in double precision on the CPU.
    """
    found = low_rank.nearest(coefficients, *factors)
    missing = float((low_rank.coefficients(*found) - coefficients.detach().double().cpu()).norm())
    norm = float(coefficients.double().norm()) if whole is None else whole
    if missing > _UNSEEN * norm:
        of = "the soft coefficients" if whole is None else "the weight"
        warnings.warn(
            f"rank={low_rank.rank} leaves {missing / norm:.2g} of the norm of {of} out: the layer computes another "
            "function. Raise rank, or leave it out to keep all coefficients.",
            stacklevel=2,
        )
    return found


def complete_factors(low_rank: LowRank, state: dict[str, Tensor], prefix: str, layer: Any) -> None:
    """Let a state without factors serve a layer of some rank: that of a layer of full rank, or of one of escnn's own.

    Args:
        low_rank: the layout of the layer's factors.
        state: changed in place.
        prefix: of the layer's names in it.
        layer: which is to load it.
    """
    weights = state.get(prefix + "weights")
    if weights is None or any(prefix + name in state for name in FACTORS[1:]):
        return
    device = weights.device if layer.soft_weights.is_meta else layer.soft_weights.device
    factors = low_rank.drawn(layer.soft_weights.new_empty(0, device=device))
    soft = state.get(prefix + "soft_weights")
    found: tuple[Tensor, ...] = (torch.zeros_like(layer.soft_weights, device=device), *factors)
    if soft is not None and soft.shape == (low_rank.dim,):
        found = truncated(low_rank, soft, factors)
    elif soft is not None:
        return
    for name, value in zip(FACTORS, found, strict=True):
        if layer._parameters.get(name) is not None:  # pruned or parametrised, it goes by another name
            state[prefix + name] = value.to(device, layer.soft_weights.dtype)
