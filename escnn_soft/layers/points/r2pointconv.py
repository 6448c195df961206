"""The soft convolution over points on the plane."""

from __future__ import annotations

from escnn.gspaces import GSpace2D
from escnn.nn import FieldType

from escnn_soft.dial import Policy
from escnn_soft.escnn import BasisFilter, FrequenciesCutoff, R2PointConv, empty_allowed
from escnn_soft.grading import Chain
from escnn_soft.layers.points.pointconv import SoftPointConvolution

__all__ = ["SoftR2PointConv"]


class SoftR2PointConv(SoftPointConvolution, R2PointConv):
    r"""Convolution over points on the plane, from exactly steerable to unconstrained.

    The kernel is made of rings a_r and circular harmonics Y_j, with all coefficients free instead of escnn's few:

        K(x) = sum over r, j of a_r(|x|) Y_j(x / |x|) C_rj,    C = C_escnn(weights) + sum over levels of gain * C_level

    A level holds all kernels that transform under one irrep of (g . K)(x) = rho_out(g) K(g^-1 x) rho_in(g)^-1. Points
    are not a grid: nothing is sampled, there is no remainder, and every statement is exact for every element of the
    group. At softness 0 the layer *is* ``escnn.nn.R2PointConv``; at softness 1 it reaches every kernel with its rings
    and frequencies, which are a band limit: more of them reach more.

    Drop-in: the same arguments in the same order as ``escnn.nn.R2PointConv``, whose checkpoints load. Needs
    torch_geometric: ``pip install torch_geometric``.

    Source: Cesa, Lang and Weiler, A Program to Build E(N)-Equivariant Steerable CNNs (ICLR 2022), for escnn's part.

    Args:
        Those of ``escnn.nn.R2PointConv`` (``groups`` is 1; ``width`` with ``n_rings``, or else ``rings``), plus:
        softness: a float in [0, 1] or a policy.
        chain: subgroups to relax to, as in :class:`~escnn_soft.SoftR2Conv`.
        rank: number of products that the soft coefficients are sums of, likewise.

    Raises:
        As :class:`~escnn_soft.SoftR2Conv`, and ``MissingPackageError`` if torch_geometric is not installed,
        ``ArgumentError`` if the rings are not given, or given twice.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> field = space.type(space.regular_repr)
        >>> layer = SoftR2PointConv(field, field, width=2.0, n_rings=3, softness=0.5)
        >>> points = field(torch.zeros(3, 4), torch.rand(3, 2))
        >>> layer(points, torch.tensor([[0, 1, 2], [1, 2, 0]])).shape
        torch.Size([3, 4])
        >>> [level.name for level in layer.spectrum().levels]
        ['irrep_0', 'irrep_1', 'irrep_2']
    """

    hard_class = R2PointConv
    _space_class = GSpace2D

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        groups: int = 1,
        bias: bool = True,
        sigma: list[float] | float | None = None,
        width: float | None = None,
        n_rings: int | None = None,
        frequencies_cutoff: FrequenciesCutoff | None = None,
        rings: list[float] | None = None,
        basis_filter: BasisFilter | None = None,
        recompute: bool = False,
        initialize: bool = True,
        *,
        softness: float | Policy = 0.0,
        chain: Chain | None = None,
        rank: int | None = None,
    ) -> None:
        plan = self._plan(
            in_type, out_type, groups, softness, chain, frequencies_cutoff=frequencies_cutoff, rings=rings,
            sigma=sigma, width=width, n_rings=n_rings, basis_filter=basis_filter,
        )  # fmt: skip
        with empty_allowed(self, empty=plan[1].equivariant.dim == 0):
            super().__init__(
                in_type, out_type, groups, bias, sigma, width, n_rings, frequencies_cutoff, rings, basis_filter,
                recompute, initialize=False,
            )  # fmt: skip
        self._soften(plan, basis_filter, bias=bias, chain=chain, rank=rank, initialize=initialize)
