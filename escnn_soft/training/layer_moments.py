"""One second moment a layer: the scale by which every coordinate of its weights is divided."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from escnn_soft.training.layer_parameters import LayerParameters
from escnn_soft.training.local_tensors import local, summed_over_shards, wide, wide_like, write_back

__all__ = ["LayerPlan", "layerwise_step"]

_KEY = "layer"
"""State of a layer's first parameter: steps and second moments, of its weights and of its biases.  # shape: (2, 2)"""
_CACHED = 2**18
"""Entries after which a CPU's cache has forgotten the first ones."""


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """What is to be done for layers on one device, as long as the same parameters have gradients.

    Attributes:
        leaders: a parameter of each layer, with whose state that of the layer is kept.
        counted: every parameter with a gradient.
        averages: turns one sum of squares a parameter into the means of a layer.  # shape: (2 * layers, counted)
        seen: which of these are means of something.  # shape: (layers, 2)
        moved: those of the counted that the step changes.
        slots: for each of them, 2 * (its layer) + (1 for a bias).
        parts: of the moved, that are worked on together: on a CPU as many as its cache holds, else all.
    """

    leaders: tuple[Parameter, ...]
    counted: tuple[Parameter, ...]
    averages: Tensor
    seen: Tensor
    moved: tuple[Parameter, ...]
    slots: tuple[int, ...]
    parts: tuple[slice, ...]

    @staticmethod
    def of(layers: Sequence[LayerParameters], moves: Callable[[Parameter], bool]) -> LayerPlan:
        """A plan for layers of which something has a gradient; ``moves`` says what the step changes."""
        owners = [
            (2 * i + part, p)
            for i, layer in enumerate(layers)
            for part, parameters in enumerate((layer.weights, layer.biases))
            for p in parameters
            if p.grad is not None
        ]
        leaders = tuple(layer.all[0] for layer in layers)
        dtype = torch.float32
        for _, p in owners:
            dtype = torch.promote_types(dtype, p.dtype)
        counts = [sum(p.numel() for slot, p in owners if slot == i) for i in range(2 * len(layers))]
        averages = [[float(slot == i) / max(counts[i], 1) for slot, _ in owners] for i in range(2 * len(layers))]
        moved = [(slot, p) for slot, p in owners if moves(p)]
        device = leaders[0].device
        return LayerPlan(
            leaders,
            tuple(p for _, p in owners),
            torch.tensor(averages, dtype=dtype, device=device),
            torch.tensor(counts, device=device).view(-1, 2) > 0,
            tuple(p for _, p in moved),
            tuple(slot for slot, _ in moved),
            tuple(_parts([p.numel() for _, p in moved], _CACHED if device.type == "cpu" else math.inf)),
        )


def layerwise_step(plan: LayerPlan, state: dict[Tensor, dict[str, Any]], group: dict[str, Any]) -> None:
    r"""Move the parameters of layers by their first moments, each divided by one number a layer.

        v <- beta_2 v + (1 - beta_2) mean of g^2 over the layer's weights,     u likewise over its biases
        w <- w - rate * lr * m / (sqrt(v) + eps),     b <- b - rate * lr * m / (sqrt(u + v) + eps)

    with m the running mean of the gradient, and every mean corrected for its start as Adam's. The group acts on the
    coordinates by orthogonal matrices, which the mean of squares does not see: the step commutes with it. What breaks
    the symmetry is divided by the same number as what keeps it, so rounding stays rounding.

    A mean is over the coordinates with a gradient: at softness 0 over escnn's alone, since the others, which do not
    move, would only make it small. Nothing here asks the device for a value.

    Args:
        plan: what to move.
        state: of the optimiser; extended.
        group: options ``lr``, ``betas``, ``eps``, ``weight_decay`` and ``layer_rate``.
    """
    beta1, beta2 = group["betas"]
    steps, moments = torch.stack(_states(plan, state)).unbind(1)  # each: (layers, 2)
    means = (plan.averages * _squares(plan)).sum(1).view(-1, 2)
    steps = steps + plan.seen  # weights that were frozen so far begin as others did
    moments = torch.where(plan.seen, torch.lerp(moments, means, 1 - beta2), moments)
    torch._foreach_copy_(_states(plan, state), list(torch.stack([steps, moments], 1).unbind()))

    own = moments / _correction(steps, beta2)
    scales = torch.stack([own[:, 0], own.sum(1)], 1).sqrt() + group["eps"]
    factors = (group["lr"] * group["layer_rate"] / (_correction(steps, beta1) * scales)).flatten().unbind()

    averages, gradients = _first_moments(plan.moved, state), local(_gradients(plan.moved))
    targets, scaled = local(plan.moved), [factors[slot] for slot in plan.slots]
    for part in plan.parts:
        _move(targets[part], averages[part], gradients[part], scaled[part], group)


def _move(
    targets: list[Tensor],
    averages: list[Tensor],
    gradients: list[Tensor],
    factors: list[Tensor],
    group: dict[str, Any],
) -> None:
    """m <- beta_1 m + (1 - beta_1) g,     w <- (1 - lr * weight_decay) w - factor m."""
    torch._foreach_lerp_(averages, wide(gradients), 1 - group["betas"][0])
    copies = wide(targets)
    if group["weight_decay"] != 0:
        torch._foreach_mul_(copies, 1 - group["lr"] * group["weight_decay"])
    torch._foreach_addcmul_(copies, averages, factors, value=-1)
    write_back(targets, copies)


def _parts(sizes: Sequence[int], most: float) -> Iterator[slice]:
    """Slices of tensors that hold at most so many entries together, or are one large tensor."""
    start, total = 0, 0
    for i, size in enumerate(sizes):
        if i > start and total + size > most:
            yield slice(start, i)
            start, total = i, 0
        total += size
    if sizes:
        yield slice(start, len(sizes))


def _states(plan: LayerPlan, state: dict[Tensor, dict[str, Any]]) -> list[Tensor]:
    """Steps and moments of each layer."""
    for leader in plan.leaders:
        if _KEY not in state[leader]:
            state[leader][_KEY] = plan.averages.new_zeros(2, 2)
    return [state[leader][_KEY] for leader in plan.leaders]


def _first_moments(parameters: Sequence[Parameter], state: dict[Tensor, dict[str, Any]]) -> list[Tensor]:
    """Running means of gradients, this process's parts."""
    for p in parameters:
        if "exp_avg" not in state[p]:
            state[p]["exp_avg"] = wide_like(p)
    return local(state[p]["exp_avg"] for p in parameters)


def _squares(plan: LayerPlan) -> Tensor:
    """Sum of squares of each gradient, (counted,)."""
    norms = torch._foreach_norm(local(_gradients(plan.counted)), 2, dtype=plan.averages.dtype)
    return summed_over_shards(torch.stack(norms).square(), plan.counted)


def _gradients(parameters: Sequence[Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def _correction(steps: Tensor, beta: float) -> Tensor:
    """1 - beta^steps, accurate for beta near 1; 1 before the first step."""
    return torch.where(steps > 0, -torch.expm1(steps * (math.log(beta) if beta > 0 else -math.inf)), 1.0)
