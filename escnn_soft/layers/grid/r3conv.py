"""The soft volumetric convolution."""

from __future__ import annotations

import torch
from escnn.gspaces import GSpace3D
from escnn.nn import FieldType, R3Conv

from escnn_soft.dial import Policy
from escnn_soft.escnn import BasisFilter, FrequenciesCutoff, empty_allowed, kept_harmonics
from escnn_soft.grading import Chain
from escnn_soft.layers.arguments import check_geometry
from escnn_soft.layers.grid.convolution import SoftConvolution

__all__ = ["SoftR3Conv"]


class SoftR3Conv(SoftConvolution, R3Conv):
    r"""Volumetric convolution between feature fields, from exactly steerable to unconstrained.

    The kernel is escnn's plus everything it leaves out, level by level:

        K = K_escnn(weights) + sum over levels of gain(violation_level) * K_level(soft_weights)

    At softness 0 the layer *is* ``escnn.nn.R3Conv``; at softness 1 it reaches every ``torch.nn.Conv3d``.

    Drop-in: the same arguments in the same order as ``escnn.nn.R3Conv``, whose checkpoints load (in either mode); see
    :class:`~escnn_soft.SoftR2Conv` for levels, softness, precision, evaluation mode and sources.

    Args:
        Those of ``escnn.nn.R3Conv``, plus:
        softness: a float in [0, 1] or a policy.
        chain: subgroups to relax to, as in :class:`~escnn_soft.SoftR2Conv`.
        rank: number of products that the soft coefficients are sums of, likewise.

    Raises:
        As :class:`~escnn_soft.SoftR2Conv`; ``GSpaceError`` if the types do not live in space.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> space = gspaces.rot3dOnR3()
        >>> field = space.type(space.trivial_repr, space.irrep(1))
        >>> layer = SoftR3Conv(field, field, kernel_size=3, padding=1, softness=0.5)
        >>> layer(field(torch.zeros(1, 4, 5, 5, 5))).shape
        torch.Size([1, 4, 5, 5, 5])
        >>> layer.spectrum().levels[0].name
        'irrep_0'
        >>> layer.softness = 1.0
    """

    dims = 3
    hard_class = R3Conv
    plain_class = torch.nn.Conv3d
    _space_class = GSpace3D
    _remedy = "SoftR3Conv acts in space: use gspaces.rot3dOnR3, octaOnR3, ..."

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        padding: int | tuple[int, int, int] = 0,
        stride: int | tuple[int, int, int] = 1,
        dilation: int = 1,
        padding_mode: str = "zeros",
        groups: int = 1,
        bias: bool = True,
        sigma: list[float] | float | None = None,
        frequencies_cutoff: FrequenciesCutoff | None = None,
        rings: list[float] | None = None,
        recompute: bool = False,
        basis_filter: BasisFilter | None = None,
        initialize: bool = True,
        *,
        softness: float | Policy = 0.0,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> None:
        self._check(in_type, out_type, kernel_size=kernel_size, dilation=dilation, groups=groups)
        check_geometry(3, padding_mode, padding=padding, stride=stride)
        self._harmonics = kept_harmonics(kernel_size, frequencies_cutoff, rings, sigma, dilation, basis_filter, 3)
        plan = self._plan(in_type, out_type, kernel_size, dilation, groups, softness, chain, rank)
        with empty_allowed(self, empty=plan.empty):
            super().__init__(
                in_type, out_type, kernel_size, padding, stride, dilation, padding_mode, groups, bias, sigma,
                frequencies_cutoff, rings, recompute, basis_filter, initialize=False,
            )  # fmt: skip
        self._soften(plan, basis_filter, bias=bias, initialize=initialize)
