"""The spectrum of kernels on the plane and in space: convolutions between feature fields."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from escnn.group import GroupElement, Representation
from escnn.gspaces import GSpace
from numpy.typing import NDArray

from escnn_soft._lasting import lasting
from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.functions import (
    Grid,
    Harmonic,
    VertexShell,
    circular_functions,
    grid_exact,
    moves_pixels,
    pixel_permutation,
    polyhedral_functions,
    spherical_functions,
    split_functions,
)
from escnn_soft.grading.chain import Chain, SubgroupChain, subgroup_chain
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.kernel_space import KernelSpace
from escnn_soft.grading.relaxed import Movements, RelaxedSpace
from escnn_soft.grading.transform import WeightTransform, weight_transform
from escnn_soft.groups import PlanarGroup, fibre_group

__all__ = ["SpatialFunction", "kernel_transform"]

SpatialFunction = Harmonic | VertexShell
"""What a band limit is made of."""


@lasting()
def kernel_transform(
    gspace: GSpace,
    in_representations: Sequence[Representation],
    out_representations: Sequence[Representation],
    kernel_size: int,
    harmonics: Sequence[SpatialFunction],
    dilation: int = 1,
    chain: Chain | None = None,
) -> WeightTransform:
    r"""Grade the kernels K: R^d -> R^{m x n} by the irreps of (g . K)(x) = rho_out(g) K(g^{-1} x) rho_in(g)^{-1}.

    Args:
        gspace: escnn gspace on the plane or in space, d = 2 or 3.
        in_representations: fields of the input, n channels in all.
        out_representations: fields of the output, m channels in all.
        kernel_size: pixels along a side, k.
        harmonics: the band limit; everything else on the pixels is remainder.
        dilation: spacing of the pixels.
        chain: subgroups, from large to small; what breaks the last is left out. A remainder on which the group has no
            law is graded by the pixel action of those subgroups that have one. None for all kernels.

    Returns:
        The transform between kernels (m, n, k^d) and coefficients. Orthogonal, with the exact pixel action, where the
        group acts on the grid; otherwise the levels are those of the continuous kernel. Harmonics that are linearly
        dependent on the pixels, as on few pixels far apart, count as what those of lower frequency make of them.

    Raises:
        ArgumentError: if the chain is none.
        RepresentationError: if a representation is not orthogonal.
    """
    geometry = gspace, kernel_size, tuple(harmonics), dilation
    space = _space(*geometry) if chain is None else _relaxed_space(*geometry, subgroup_chain(gspace, chain))
    frames = ChannelFrame.of(space.group, out_representations), ChannelFrame.of(space.group, in_representations)
    return weight_transform(*frames, space)


@lru_cache(maxsize=64)
def _space(gspace: GSpace, kernel_size: int, harmonics: tuple[SpatialFunction, ...], dilation: int) -> KernelSpace:
    """The functions on the grid, shared by all layers of the same geometry."""
    group = fibre_group(gspace)
    split = split_functions(gspace, kernel_size, _sampled(gspace, kernel_size, harmonics, dilation))
    if split.dependent:  # what the pixels cannot tell apart counts as what turns least
        low = tuple(sorted(harmonics, key=lambda h: h.frequency if isinstance(h, Harmonic) else 0))
        split = split_functions(gspace, kernel_size, _sampled(gspace, kernel_size, low, dilation))
    return KernelSpace(group, split.copies, exact=grid_exact(gspace), dependent=split.dependent)


def _sampled(
    gspace: GSpace, kernel_size: int, harmonics: Sequence[SpatialFunction], dilation: int
) -> list[tuple[IrrepId, NDArray[np.float64]]]:
    """The functions of a band limit on the pixels, folded into irreps, in the order of the harmonics."""
    group, points = fibre_group(gspace), Grid(gspace.dimensionality, kernel_size, dilation).points
    rings = [h for h in harmonics if isinstance(h, Harmonic)]
    if gspace.dimensionality == 2:
        assert isinstance(group, PlanarGroup)
        return circular_functions(gspace, group, points, rings)
    shells = [h for h in harmonics if isinstance(h, VertexShell)]
    return spherical_functions(gspace, group, points, rings) + polyhedral_functions(gspace, group, points, shells)


@lru_cache(maxsize=64)
def _relaxed_space(
    gspace: GSpace, kernel_size: int, harmonics: tuple[SpatialFunction, ...], dilation: int, chain: SubgroupChain
) -> KernelSpace:
    def movements(elements: Sequence[GroupElement] | None) -> Movements | None:
        if elements is None or not all(moves_pixels(gspace, g) for g in elements):
            return None
        return [(g, pixel_permutation(gspace, kernel_size, g)) for g in elements]

    whole = _space(gspace, kernel_size, harmonics, dilation)
    return RelaxedSpace(whole, chain, [movements(elements) for elements in chain.elements])
