"""The soft convolution over points in space."""

from __future__ import annotations

from escnn.gspaces import GSpace3D
from escnn.nn import FieldType

from escnn_soft.dial import Policy
from escnn_soft.escnn import BasisFilter, FrequenciesCutoff, R3PointConv, empty_allowed
from escnn_soft.grading import Chain
from escnn_soft.layers.points.pointconv import SoftPointConvolution

__all__ = ["SoftR3PointConv"]


class SoftR3PointConv(SoftPointConvolution, R3PointConv):
    r"""Convolution over points in space, from exactly steerable to unconstrained.

    The kernel is made of rings a_r and spherical harmonics Y_j, with all coefficients free instead of escnn's few:

        K(x) = sum over r, j of a_r(|x|) Y_j(x / |x|) C_rj,    C = C_escnn(weights) + sum over levels of gain * C_level

    At softness 0 the layer *is* ``escnn.nn.R3PointConv``, whose arguments it takes in the same order and whose
    checkpoints load; see :class:`~escnn_soft.SoftR2PointConv` for levels, reach, torch_geometric and the source.

    Args:
        Those of ``escnn.nn.R3PointConv`` (``groups`` is 1), plus:
        softness: a float in [0, 1] or a policy.
        chain: subgroups to relax to, as in :class:`~escnn_soft.SoftR2Conv`.
        rank: number of products that the soft coefficients are sums of, likewise.

    Raises:
        As :class:`~escnn_soft.SoftR2PointConv`; ``GSpaceError`` if the types do not live in space.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> space = gspaces.rot3dOnR3(maximum_frequency=1)
        >>> field = space.type(space.trivial_repr, space.irrep(1))
        >>> layer = SoftR3PointConv(field, field, width=1.0, n_rings=2, frequencies_cutoff=2.0, softness=0.5)
        >>> points = field(torch.zeros(3, 4), torch.rand(3, 3))
        >>> layer(points, torch.tensor([[0, 1, 2], [1, 2, 0]])).shape
        torch.Size([3, 4])
        >>> [level.name for level in layer.spectrum().levels]
        ['irrep_0', 'irrep_1', 'irrep_2', 'irrep_3', 'irrep_4']
    """

    hard_class = R3PointConv
    _space_class = GSpace3D

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
