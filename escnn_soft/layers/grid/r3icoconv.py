"""The soft convolution whose equivariant part is sampled at the vertices of a polyhedron."""

from __future__ import annotations

from typing import Any

import torch
from escnn.gspaces import GSpace3D
from escnn.nn import EquivariantModule, FieldType, R3IcoConv

from escnn_soft.dial import Policy
from escnn_soft.escnn import BasisFilter, FrequenciesCutoff, empty_allowed, kept_shells
from escnn_soft.escnn.icosahedral import check_icosahedral, stored_samples
from escnn_soft.grading import Chain
from escnn_soft.layers.arguments import check_geometry
from escnn_soft.layers.grid.convolution import SoftConvolution

__all__ = ["SoftR3IcoConv"]


class SoftR3IcoConv(SoftConvolution, R3IcoConv):
    r"""Icosahedral convolution between feature fields, from exactly steerable to unconstrained.

    As :class:`~escnn_soft.SoftR3Conv`, with another band limit: the kernels of the dial's first levels
    are made of Gaussians at the vertices of a polyhedron instead of spherical harmonics.

        K = K_escnn(weights) + sum over levels of gain(violation_level) * K_level(soft_weights)

    Drop-in: the same arguments in the same order as ``escnn.nn.R3IcoConv``, whose checkpoints load.

    Source: Cesa, Lang and Weiler, A Program to Build E(N)-Equivariant Steerable CNNs (ICLR 2022), for escnn's part.

    Args:
        Those of ``escnn.nn.R3IcoConv``, plus:
        softness: a float in [0, 1] or a policy.
        chain: subgroups to relax to, as in :class:`~escnn_soft.SoftR2Conv`.
        rank: number of products that the soft coefficients are sums of, likewise.

    Raises:
        As :class:`~escnn_soft.SoftR3Conv`, and ``GSpaceError`` for another group than the icosahedral one,
        ``ArgumentError`` for unknown ``samples``, ``AliasedBasisError`` if the sampled Gaussians are linearly dependent
        on the grid, as the 30 of ``icosidodeca`` are for ``kernel_size=3``, and ``BasisFilterError`` if the basis
        filter looks at more than rings and irreps.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> space = gspaces.icoOnR3()  # doctest: +ELLIPSIS
        >>> field = space.type(space.trivial_repr, space.irrep(1))
        >>> layer = SoftR3IcoConv(field, field, kernel_size=3, padding=1, softness=0.5)
        >>> layer(field(torch.zeros(1, 4, 5, 5, 5))).shape
        torch.Size([1, 4, 5, 5, 5])
    """

    dims = 3
    hard_class = R3IcoConv
    plain_class = torch.nn.Conv3d
    _space_class = GSpace3D
    _remedy = "SoftR3IcoConv acts in space: use gspaces.icoOnR3."

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
        samples: str = "ico",
        sigma: list[float] | float | None = None,
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
        check_icosahedral(in_type)
        check_geometry(3, padding_mode, padding=padding, stride=stride)
        self._harmonics = kept_shells(kernel_size, samples, rings, sigma, dilation, basis_filter, in_type.fibergroup)
        plan = self._plan(in_type, out_type, kernel_size, dilation, groups, softness, chain, rank)
        with empty_allowed(self, empty=plan.empty):
            super().__init__(
                in_type, out_type, kernel_size, padding, stride, dilation, padding_mode, groups, bias, samples,
                sigma, rings, recompute, basis_filter, initialize=False,
            )  # fmt: skip
        self._soften(plan, basis_filter, bias=bias, initialize=initialize)

    @classmethod
    def _stored(cls, layer: EquivariantModule, frequencies_cutoff: FrequenciesCutoff | None) -> dict[str, Any]:
        return stored_samples(super()._stored(layer, frequencies_cutoff), layer)
