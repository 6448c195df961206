"""Operator norms of convolutions bounded by unfoldings of the kernel: at once, and looser than by its frequencies."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from escnn_soft.linalg.matrix_norms import spectral_norm
from escnn_soft.linalg.phases import kernel_of_phases

__all__ = ["unfolding_norm"]


def unfolding_norm(kernel: Tensor, stride: Sequence[int] | None = None, dilation: int = 1) -> float:
    r"""Upper bound on ||conv(x, kernel)|| / ||x||, as :func:`convolution_norm`, from two matrices and no frequency.

    The symbol is a product of a row of phases and a stack of the kernel's pixels K(p), or of a row of pixels and a
    column of phases. With any weights c(p) > 0 in between, here the norms of the pixels, and all phases of modulus 1,

        ||sum_p K(p) e^(-i w p)||^2  <=  sum_p c(p) * min( ||sum_p K(p)^T K(p) / c(p)||, ||sum_p K(p) K(p)^T / c(p)|| )

    Source: two of the four unfoldings of Singla and Feizi, "Fantastic Four", ICLR 2021, theorem 2, with weights.

    Args:
        kernel: in double precision.  # shape: (out, in, *sizes), d sizes
        stride: per axis; 1 by default.
        dilation: spacing of the kernel's pixels.

    Returns:
        The bound: two to three times the norm for random kernels, at most sqrt(pixels min(out, in)) times, and exact
        for kernels of a single pixel.

    Example:
        >>> import torch
        >>> round(unfolding_norm(torch.ones(1, 1, 3, 3, dtype=torch.float64)), 6)  # attained at frequency 0
        9.0
    """
    phases = kernel_of_phases(kernel, stride, dilation)
    scale = float(phases.abs().max())
    if scale == 0.0:
        return 0.0
    pixels = (phases / scale).flatten(2)  # no square overflows or vanishes
    weights = pixels.flatten(0, 1).norm(dim=0)
    pixels, weights = pixels[:, :, weights > 0], weights[weights > 0]
    divided = pixels / weights.sqrt()
    stacks = divided.flatten(1), divided.transpose(0, 1).flatten(1)
    return scale * float(weights.sum().sqrt()) * min(float(spectral_norm(stack)) for stack in stacks)
