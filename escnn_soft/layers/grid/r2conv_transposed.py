"""The soft planar transposed convolution."""

from __future__ import annotations

import torch
from escnn.gspaces import GSpace2D
from escnn.nn import FieldType, R2ConvTransposed

from escnn_soft.dial import Policy
from escnn_soft.escnn import BasisFilter, FrequenciesCutoff, empty_allowed, kept_harmonics
from escnn_soft.grading import Chain
from escnn_soft.layers.arguments import warn_of_maximum_offset
from escnn_soft.layers.grid.transposed import SoftTransposedConvolution

__all__ = ["SoftR2ConvTransposed"]


class SoftR2ConvTransposed(SoftTransposedConvolution, R2ConvTransposed):
    r"""Transposed planar convolution between feature fields, from exactly steerable to unconstrained.

    Its kernel is that of :class:`~escnn_soft.SoftR2Conv`, level by level, and is spread instead of gathered:

        y(s x + p) = sum over x and p of K(p) x(x),  K = K_escnn(weights) + sum of gain * K_level(soft_weights)

    Drop-in: the same arguments in the same order as ``escnn.nn.R2ConvTransposed``, whose checkpoints load (in either
    mode); see :class:`~escnn_soft.SoftR2Conv` for softness, precision, evaluation mode and sources.

    Args:
        Those of ``escnn.nn.R2ConvTransposed``, plus:
        softness: a float in [0, 1] or a policy.
        chain: subgroups to relax to, as in :class:`~escnn_soft.SoftR2Conv`.
        rank: number of products that the soft coefficients are sums of, likewise.

    Raises:
        As :class:`~escnn_soft.SoftR2Conv`, and ``ArgumentError`` if ``output_padding`` is too large.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(space.regular_repr)
        >>> layer = SoftR2ConvTransposed(field, field, kernel_size=3, padding=1, stride=2, softness=0.5)
        >>> layer(field(torch.zeros(1, 4, 5, 5))).shape
        torch.Size([1, 4, 9, 9])
    """

    dims = 2
    hard_class = R2ConvTransposed
    plain_class = torch.nn.ConvTranspose2d
    _space_class = GSpace2D
    _remedy = "SoftR2ConvTransposed acts on the plane: use gspaces.rot2dOnR2, flipRot2dOnR2, ..."

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        padding: int | tuple[int, int] = 0,
        output_padding: int | tuple[int, int] = 0,
        stride: int | tuple[int, int] = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        sigma: list[float] | float | None = None,
        frequencies_cutoff: FrequenciesCutoff | None = None,
        rings: list[float] | None = None,
        maximum_offset: int | None = None,
        recompute: bool = False,
        basis_filter: BasisFilter | None = None,
        initialize: bool = True,
        *,
        softness: float | Policy = 0.0,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> None:
        self._check(in_type, out_type, kernel_size=kernel_size, dilation=dilation, groups=groups)
        self._check_movement(padding, output_padding, stride, dilation)
        warn_of_maximum_offset(maximum_offset)
        self._harmonics = kept_harmonics(kernel_size, frequencies_cutoff, rings, sigma, dilation, basis_filter)
        plan = self._plan(in_type, out_type, kernel_size, dilation, groups, softness, chain, rank)
        with empty_allowed(self, empty=plan.empty):
            super().__init__(
                in_type, out_type, kernel_size, padding, output_padding, stride, dilation, groups, bias, sigma,
                frequencies_cutoff, rings, maximum_offset, recompute, basis_filter, initialize=False,
            )  # fmt: skip
        self._soften(plan, basis_filter, bias=bias, initialize=initialize)
