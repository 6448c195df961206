"""The spectrum of planar kernels: convolutions between feature fields on the plane."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from escnn.group import Representation
from escnn.gspaces import GSpace2D

from escnn_soft.spectrum.basis import KernelSpace
from escnn_soft.spectrum.frame import ChannelFrame
from escnn_soft.spectrum.grid import Harmonic, PlanarGrid, grid_exact
from escnn_soft.spectrum.groups import fibre_group
from escnn_soft.spectrum.planar import PlanarGroup
from escnn_soft.spectrum.transform import WeightTransform, weight_transform

__all__ = ["kernel_transform"]


def kernel_transform(
    gspace: GSpace2D,
    in_representations: Sequence[Representation],
    out_representations: Sequence[Representation],
    kernel_size: int,
    harmonics: Sequence[Harmonic],
    dilation: int = 1,
) -> WeightTransform:
    r"""Grade the kernels K: R^2 -> R^{m x n} by the irreps of (g . K)(x) = rho_out(g) K(g^{-1} x) rho_in(g)^{-1}.

    Args:
        gspace: escnn gspace on the plane.
        in_representations: fields of the input, n channels in all.
        out_representations: fields of the output, m channels in all.
        kernel_size: pixels along a side, k.
        harmonics: the band limit; everything else on the pixels is remainder.
        dilation: spacing of the pixels.

    Returns:
        The transform between kernels (m, n, k * k) and coefficients. Orthogonal, with the exact pixel action, where the
        group acts on the grid; otherwise the levels are those of the continuous kernel.

    Raises:
        RepresentationError: if a representation is not orthogonal.
        AliasedBasisError: if the sampled harmonics are linearly dependent.
    """
    frames = ChannelFrame.of(out_representations), ChannelFrame.of(in_representations)
    return weight_transform(*frames, _space(gspace, kernel_size, tuple(harmonics), dilation))


@lru_cache(maxsize=64)
def _space(gspace: GSpace2D, kernel_size: int, harmonics: tuple[Harmonic, ...], dilation: int) -> KernelSpace:
    """The functions on the grid, shared by all layers of the same geometry."""
    group = fibre_group(gspace)
    assert isinstance(group, PlanarGroup)
    copies = PlanarGrid(gspace, kernel_size, dilation).copies(group, harmonics)
    return KernelSpace(group, copies, exact=grid_exact(gspace))
