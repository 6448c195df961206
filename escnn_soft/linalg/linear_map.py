"""A linear map of many small operations as one step of the graph, its adjoint written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

__all__ = ["linear_map"]

Map = Callable[[Tensor], Tensor]


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: Map, back: Map) -> Tensor:
        ctx.maps = forth, back
        return forth(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        forth, back = ctx.maps
        return linear_map(gradient, back, forth), None, None


def linear_map(x: Tensor, forth: Map, back: Map) -> Tensor:
    """``forth(x)``, with ``back`` in its backward pass.

    One step of the graph takes less time than one for each operation. Whoever looks at operations sees them all:
    compilers, tracers, transforms of functions, forward derivatives, classes of tensors.

    Args:
        x: a tensor.
        forth: a linear map, that of no tensor with a gradient.
        back: its adjoint: <forth(x), y> = <x, back(y)>.

    Returns:
        The image.
    """
    if not (x.requires_grad and torch.is_grad_enabled()) or _watched(x):
        return forth(x)
    return cast("Tensor", _Step.apply(x, forth, back))  # type: ignore[no-untyped-call]


def _watched(x: Tensor) -> bool:
    return (
        type(x) not in (Tensor, Parameter)
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
    )
