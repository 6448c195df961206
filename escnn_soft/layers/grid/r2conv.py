"""The soft planar convolution."""

from __future__ import annotations

import torch
from escnn.gspaces import GSpace2D
from escnn.nn import FieldType, R2Conv

from escnn_soft.dial import Policy
from escnn_soft.escnn import BasisFilter, FrequenciesCutoff, empty_allowed, kept_harmonics
from escnn_soft.grading import Chain
from escnn_soft.layers.arguments import check_geometry, warn_of_maximum_offset
from escnn_soft.layers.grid.convolution import SoftConvolution

__all__ = ["SoftR2Conv"]


class SoftR2Conv(SoftConvolution, R2Conv):
    r"""Planar convolution between feature fields, from exactly steerable to unconstrained.

    The kernel is escnn's plus everything it leaves out, level by level:

        K = K_escnn(weights) + sum over levels of gain(violation_level) * K_level(soft_weights)

    A level holds all kernels that transform under one irrep of (g . K)(x) = rho_out(g) K(g^-1 x) rho_in(g)^-1. At
    softness 0 every gain but the equivariant one is 0 and the layer *is* ``escnn.nn.R2Conv``; at softness 1 every
    gain is 1 and it reaches every ``torch.nn.Conv2d``. The soft part starts at zero, so a fresh layer is equivariant
    at any softness, until it is trained.

    Drop-in: the same arguments in the same order as ``escnn.nn.R2Conv``, whose checkpoints load (in either mode).
    ``softness`` is a setting, like a dropout rate, and not part of the ``state_dict``.

    In evaluation mode the expanded kernel is kept and detached: gradients reach the input, not the parameters.

    In float64 the layer removes the float32 rounding of escnn's basis: filters differ from ``R2Conv``'s by about 1e-7,
    relative, and are equivariant to 1e-14.

    Source: Weiler and Cesa (arXiv 1911.08251) for the equivariant part; Rahman et al., "Tunable Soft Equivariance with
    Guarantees" (arXiv 2603.26657), for the idea of a dial on the violation.

    Args:
        in_type: type of the input field.
        out_type: type of the output field, on the same gspace.
        kernel_size: pixels along a side of the kernel.
        padding: zeros (or what ``padding_mode`` says) on each side; an int or one per axis.
        stride: step of the kernel.
        dilation: spacing of the kernel's pixels.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        groups: blocks of fields that are convolved separately.
        bias: whether to add a bias, with a soft part of its own.
        sigma: widths of the rings.
        frequencies_cutoff: highest frequency for each radius.
        rings: radii of the rings.
        maximum_offset: ignored by escnn 1.0.11, with a warning here.
        recompute: build escnn's basis anew instead of using its cache.
        basis_filter: which rings and frequencies to keep, from their attributes.
        initialize: whether to draw ``weights`` by generalised He initialisation.
        softness: a float in [0, 1] or a policy.
        chain: ids of subgroups of the fibre group, from large to small, to relax to: what breaks the last is never a
            parameter, so that it stays exact at every softness, and what keeps the first comes first on the dial. None
            to relax altogether.
        rank: number of products that the soft coefficients of the kernel are sums of, which takes a fraction of the
            numbers, see :class:`~escnn_soft.grading.LowRank`: from a few hundredths of escnn's own, for many fields.
            Weights that break the symmetry are no longer all reached at softness 1, but those that are, and all
            statements about the dial, are those of the group as ever. The bias keeps all of its coefficients. None for
            any coefficients.

    Raises:
        GSpaceError: if the types do not live on the plane.
        FieldTypeError: if the types do not fit each other or ``groups``.
        SoftnessError: if the softness is neither a number in [0, 1] nor a policy.
        BasisFilterError: if the basis filter looks at more than rings and frequencies.
        ArgumentError: if a size or the rank is not a positive integer, or the chain is none.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(*[space.regular_repr] * 2)
        >>> layer = SoftR2Conv(field, field, kernel_size=3, padding=1, softness=0.5)
        >>> layer(field(torch.zeros(1, 8, 9, 9))).shape
        torch.Size([1, 8, 9, 9])
        >>> [level.name for level in layer.spectrum().levels if not level.remainder]
        ['irrep_0', 'irrep_1', 'irrep_2']
        >>> layer.softness = 1.0
    """

    hard_class = R2Conv
    plain_class = torch.nn.Conv2d
    _space_class = GSpace2D
    _remedy = "SoftR2Conv acts on the plane: use gspaces.rot2dOnR2, flipRot2dOnR2, ..."

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        padding: int | tuple[int, int] = 0,
        stride: int | tuple[int, int] = 1,
        dilation: int = 1,
        padding_mode: str = "zeros",
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
        check_geometry(2, padding_mode, padding=padding, stride=stride)
        warn_of_maximum_offset(maximum_offset)
        self._harmonics = kept_harmonics(kernel_size, frequencies_cutoff, rings, sigma, dilation, basis_filter)
        plan = self._plan(in_type, out_type, kernel_size, dilation, groups, softness, chain, rank)
        with empty_allowed(self, empty=plan.empty):
            super().__init__(
                in_type, out_type, kernel_size, padding, stride, dilation, padding_mode, groups, bias, sigma,
                frequencies_cutoff, rings, maximum_offset, recompute, basis_filter, initialize=False,
            )  # fmt: skip
        self._soften(plan, basis_filter, bias=bias, initialize=initialize)
