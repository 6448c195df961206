"""A factor for each level of a dense weight, in one pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from escnn_soft.spectrum import WeightTransform

__all__ = ["LevelFilter"]


class LevelFilter:
    """F W = sum over levels of f_level * (part of W in the level): a projection where every factor is 0 or 1.

    Of a spectrum that stops at a subgroup, what breaks the subgroup is dropped.

    Between two irreps the factors act as one small matrix, dual @ diag(f) @ rows, so that analysis and synthesis take
    one product instead of two.

    Args:
        transform: the spectrum of the weights, all levels of it, in float64.
        factors: one a level.  # shape: (levels,)
        like: a tensor with the device and dtype of the weights.
    """

    def __init__(self, transform: WeightTransform, factors: Tensor, like: Tensor) -> None:
        self.shape = transform.shape
        self.frame_out = transform.frame_out.to(like.device, like.dtype)
        self.frame_in = transform.frame_in.to(like.device, like.dtype)
        self.identity = bool((factors == 1).all()) and transform.dim == math.prod(transform.shape)
        self.projection = bool(((factors == 0) | (factors == 1)).all())
        self.blocks = []
        for block in transform.blocks:
            factor = factors.double()[block.level]
            matrix = block.basis.dual[:, block.span].double() @ (factor[:, None] * block.rows.double())
            self.blocks.append((block.copies, matrix.to(like)))

    def __call__(self, weight: Tensor) -> Tensor:
        """The filtered weight.

        Args:
            weight: any weight.  # shape: (out, in, S)

        Returns:
            The weight with each level multiplied by its factor.  # shape: (out, in, S)
        """
        if self.identity:
            return weight
        m, n, s = self.shape
        hat = weight.transpose(1, 2).reshape(m, s * n)
        hat = self.frame_out.into_irreps(hat).view(m * s, n)
        hat = self.frame_in.into_irreps(hat.T).T.reshape(m, s, n)
        heights, widths = ([copies * d for _, copies, d in f.irreps] for f in (self.frame_out, self.frame_in))
        parts = [part for band in hat.split(heights) for part in band.split(widths, dim=2)]
        parts = [_filtered(part, *block) for part, block in zip(parts, self.blocks, strict=True)]
        columns = len(widths)
        bands = [torch.cat(parts[i : i + columns], dim=1) for i in range(0, len(parts), columns)]
        fields = self.frame_in.out_of_irreps(torch.cat(bands).T)  # shape: (n, m * S)
        fields = self.frame_out.out_of_irreps(fields.T.reshape(m, s * n))
        return fields.view(m, s, n).transpose(1, 2)


def _filtered(part: Tensor, copies: tuple[int, int, int, int], matrix: Tensor) -> Tensor:
    """The part between two irreps, (copies_out * d_out * S, copies_in * d_in), from (copies_out * d_out, S, ...)."""
    copies_out, d_out, copies_in, d_in = copies
    pairs = part.reshape(copies_out, d_out, -1, copies_in, d_in).permute(0, 3, 1, 2, 4)
    pairs = pairs.reshape(copies_out * copies_in, -1) @ matrix
    return pairs.view(copies_out, copies_in, d_out, -1, d_in).permute(0, 2, 3, 1, 4).reshape(-1, copies_in * d_in)
