"""The band limit of an escnn convolution, read off its basis: escnn does not store the arguments that chose it."""

from __future__ import annotations

from collections.abc import Iterator

from escnn.nn import EquivariantModule

from escnn_soft.convert.registry import Options
from escnn_soft.nn.escnn_basis import pair_blocks
from escnn_soft.nn.rings import exactly, kept_harmonics

__all__ = ["band_limits", "kept_in_basis"]

Kept = frozenset[tuple[float, float, int]]
"""Radius, width and frequency of harmonics."""


def kept_in_basis(layer: EquivariantModule) -> Kept:
    """Radius, width and frequency of everything that the layer's equivariant basis is made of.

    Args:
        layer: a convolution of escnn's.

    Returns:
        The triples.
    """
    elements = (attributes for _, block in pair_blocks(layer.basisexpansion) for attributes in block.get_basis_info())
    return frozenset((a["radius"], a["sigma"], a["irrep:frequency"]) for a in elements)


def band_limits(layer: EquivariantModule) -> Iterator[Options]:
    """Arguments with which a convolution may have been built: escnn's defaults, a cut-off, a cut-off and a filter.

    A ring and frequency without any equivariant kernel leaves no trace in the basis: the second guess keeps it up to
    the ring's highest frequency, the third counts it to the remainder.

    Args:
        layer: a convolution of escnn's on a grid.

    Yields:
        ``frequencies_cutoff`` and ``basis_filter``, as far as they are not the defaults.
    """
    kept = kept_in_basis(layer)
    default = kept_harmonics(layer.kernel_size, None, layer._rings, layer._sigma, layer.dilation, None, layer.d)
    if kept <= {(h.radius, h.width, h.frequency) for h in default}:  # then as many weights means the same basis
        yield {}
    cutoff, basis_filter = exactly(kept)
    yield {"frequencies_cutoff": cutoff}
    yield {"frequencies_cutoff": cutoff, "basis_filter": basis_filter}
