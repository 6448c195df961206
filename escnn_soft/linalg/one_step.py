"""Many small operations as one step of the graph, its backward pass written out.

One step takes less time than one for each operation. Whoever looks at operations sees them all: compilers, tracers,
transforms of functions, forward derivatives, classes of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

__all__ = ["linear_map", "one_step"]

_Result = TypeVar("_Result", Tensor, tuple[Tensor, ...])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forth: Callable[..., Any], back: Callable[..., Any], *inputs: Tensor) -> Any:
        ctx.maps = forth, back
        return forth(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        forth, back = ctx.maps
        moved = linear_map(back, forth, *gradients)
        return None, None, *(moved if isinstance(moved, tuple) else (moved,))


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forth: Callable[..., Tensor], back: Callable[..., Any], *inputs: Tensor) -> Tensor:
        ctx.maps = forth, back
        ctx.save_for_backward(*inputs)
        return forth(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        forth, back = ctx.maps
        inputs = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return None, None, *back(gradient, *inputs)
        # a second derivative: operation by operation, of names of their own, as one input may be made of another
        inputs = [x.view_as(x) for x in inputs]
        wanted = [x for x in inputs if x.requires_grad]
        found = iter(torch.autograd.grad(forth(*inputs), wanted, gradient, create_graph=True, allow_unused=True))
        return None, None, *(next(found) if x.requires_grad else None for x in inputs)


def linear_map(forth: Callable[..., _Result], back: Callable[..., Any], *inputs: Tensor) -> _Result:
    """``forth(*inputs)``, with ``back`` in its backward pass.

    Args:
        forth: a linear map of all inputs together, that of no tensor with a gradient; a tensor, or a tuple of them.
        back: its adjoint: <forth(x), y> = <x, back(y)>.
        *inputs: tensors.

    Returns:
        The image.
    """
    if _seen(inputs):
        return forth(*inputs)
    return cast("_Result", _Linear.apply(forth, back, *inputs))  # type: ignore[no-untyped-call]


def one_step(forth: Callable[..., Tensor], back: Callable[..., Sequence[Tensor | None]], *inputs: Tensor) -> Tensor:
    """``forth(*inputs)``, with ``back`` in its backward pass, for what is not linear.

    Args:
        forth: a differentiable function.
        back: of the gradient and the inputs, the gradient of each input.
        *inputs: tensors, which are kept for the backward pass.

    Returns:
        The value.
    """
    if _seen(inputs):
        return forth(*inputs)
    return cast("Tensor", _Step.apply(forth, back, *inputs))  # type: ignore[no-untyped-call]


def _seen(inputs: Sequence[Tensor]) -> bool:
    """Whether operations have to be seen, or nothing is to be differentiated."""
    return (
        not (torch.is_grad_enabled() and any(x.requires_grad for x in inputs))
        or any(type(x) not in (Tensor, Parameter) for x in inputs)
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
    )
