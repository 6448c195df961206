"""The band limit of an escnn convolution, read off its basis: escnn does not store the arguments that chose it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from escnn.nn import EquivariantModule

from escnn_soft.escnn.kept_rings import exactly, kept_harmonics
from escnn_soft.escnn.point_rings import harmonics_at_points
from escnn_soft.escnn.sampled_basis import pair_blocks
from escnn_soft.functions import Harmonic

__all__ = ["Options", "band_limits", "band_limits_at_points", "kept_in_basis"]

Options = Mapping[str, Any]
"""Keyword arguments of a soft class's ``from_hard``, beside the softness."""

Kept = frozenset[tuple[float, float, int]]
"""Radius, width and frequency of harmonics."""


def kept_in_basis(layer: EquivariantModule) -> Kept:
    """Radius, width and frequency of everything that the equivariant basis of an escnn layer is made of."""
    elements = (attributes for _, block in pair_blocks(layer.basisexpansion) for attributes in block.get_basis_info())
    return _triples(elements)


def _triples(elements: Iterable[dict[str, Any]]) -> Kept:
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
    default = kept_harmonics(layer.kernel_size, None, layer._rings, layer._sigma, layer.dilation, None, layer.d)
    yield from _guesses(kept_in_basis(layer), default)


def band_limits_at_points(layer: EquivariantModule) -> Iterator[Options]:
    """As :func:`band_limits`, for convolutions over points."""
    default = harmonics_at_points(
        frequencies_cutoff=None, rings=layer._rings, sigma=layer._sigma, width=None, n_rings=None, basis_filter=None,
        dims=layer.d,
    )  # fmt: skip
    yield from _guesses(_triples(layer.basissampler.get_basis_info()), default)


def _guesses(kept: Kept, default: Sequence[Harmonic]) -> Iterator[Options]:
    if kept <= {(h.radius, h.width, h.frequency) for h in default}:  # then as many weights means the same basis
        yield {}
    cutoff, basis_filter = exactly(kept)
    yield {"frequencies_cutoff": cutoff}
    yield {"frequencies_cutoff": cutoff, "basis_filter": basis_filter}
