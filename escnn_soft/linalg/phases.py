"""Convolutions with a stride as convolutions without one, between the phases of the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["kernel_of_phases"]


def kernel_of_phases(kernel: Tensor, stride: Sequence[int] | None, dilation: int) -> Tensor:
    """The kernel of a convolution of stride 1 with the same norm; without a stride, dilation changes none.

    Args:
        kernel: of the convolution.  # shape: (out, in, *sizes), d sizes
        stride: per axis; 1 by default.
        dilation: spacing of the kernel's pixels.

    Returns:
        The kernel between phases: the product of the strides times as many input channels.
            # shape: (out, in * phases, *sizes)

    Example:
        >>> tuple(kernel_of_phases(torch.ones(1, 1, 3, 3), (2, 2), 1).shape)
        (1, 4, 2, 2)
    """
    steps = (1,) * (kernel.dim() - 2) if stride is None else tuple(stride)
    return kernel if max(steps) == 1 else _phases(_dilated(kernel, dilation), steps)


def _dilated(kernel: Tensor, dilation: int) -> Tensor:
    spread = kernel.new_zeros(*kernel.shape[:2], *(dilation * (taps - 1) + 1 for taps in kernel.shape[2:]))
    every = slice(None, None, dilation)
    spread[(slice(None), slice(None), *[every] * (kernel.dim() - 2))] = kernel
    return spread


def _phases(kernel: Tensor, stride: tuple[int, ...]) -> Tensor:
    """The kernel of stride 1 between the phases of the image: K'[(o), (i, a, b), q] = K[o, i, s q + (a, b)]."""
    dims, (out, channels) = len(stride), kernel.shape[:2]
    missing = [(0, -taps % step) for taps, step in zip(kernel.shape[2:], stride, strict=True)]
    kernel = torch.nn.functional.pad(kernel, [n for pair in reversed(missing) for n in pair])
    split = [n for taps, step in zip(kernel.shape[2:], stride, strict=True) for n in (taps // step, step)]
    kernel = kernel.reshape(out, channels, *split)
    phases, taps = [3 + 2 * axis for axis in range(dims)], [2 + 2 * axis for axis in range(dims)]
    return kernel.permute(0, 1, *phases, *taps).reshape(out, -1, *split[::2])
