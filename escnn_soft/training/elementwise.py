"""Ordinary Adam, for parameters that no group acts on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adam import adam

from escnn_soft.training.local_tensors import local, wide, wide_like, write_back

__all__ = ["elementwise_step"]


def elementwise_step(
    parameters: Sequence[Parameter], state: dict[Tensor, dict[str, Any]], group: dict[str, Any]
) -> None:
    """One step of ``torch.optim.AdamW``, to the bit, for parameters of single precision or wider.

    Narrower ones have their state in single precision.

    Args:
        parameters: those with a gradient.
        state: of the optimiser; extended.
        group: options ``lr``, ``betas``, ``eps`` and ``weight_decay``.
    """
    if not parameters:
        return
    for p in parameters:
        if "exp_avg_sq" not in state[p]:
            state[p].update(step=torch.tensor(0.0), exp_avg=wide_like(p), exp_avg_sq=wide_like(p))
    targets = local(parameters)
    copies = wide(targets)
    beta1, beta2 = group["betas"]
    adam(
        copies,
        wide(local(p.grad for p in parameters if p.grad is not None)),
        local(state[p]["exp_avg"] for p in parameters),
        local(state[p]["exp_avg_sq"] for p in parameters),
        [],
        [state[p]["step"] for p in parameters],
        has_complex=any(p.is_complex() for p in parameters),
        decoupled_weight_decay=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
    write_back(targets, copies)
