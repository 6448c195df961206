"""Which rings and frequencies escnn's planar convolutions keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from escnn.kernels import CircularShellsBasis, GaussianRadialProfile
from escnn.nn.modules.conv.r2convolution import compute_basis_params

from escnn_soft.errors import ArgumentError, BasisFilterError
from escnn_soft.spectrum import Harmonic

__all__ = ["BasisFilter", "FrequenciesCutoff", "kept_harmonics"]

BasisFilter = Callable[[dict[str, Any]], bool]
FrequenciesCutoff = float | Callable[[float], float]


def kept_harmonics(
    kernel_size: int,
    frequencies_cutoff: FrequenciesCutoff | None,
    rings: list[float] | None,
    sigma: list[float] | float | None,
    dilation: int,
    basis_filter: BasisFilter | None,
) -> tuple[Harmonic, ...]:
    """The rings and frequencies that ``R2Conv`` keeps, by its own rules; the arguments are those of its constructor."""
    farthest = dilation * (kernel_size - 1) / 2 * math.sqrt(2)
    if rings is not None and not (rings and all(0 <= radius <= farthest for radius in rings)):
        remedy = "Radii are in pixels, from the kernel's centre to its corners at most."
        raise ArgumentError("rings", rings, f"a list of radii in [0, {farthest:.3g}]", remedy)
    if isinstance(sigma, list) and (rings is None or len(sigma) != len(rings)):
        raise ArgumentError("sigma", sigma, "one width, or one per ring", "Pass rings and sigma of equal length.")
    keep, radii, widths, maximum_frequency = compute_basis_params(
        kernel_size, frequencies_cutoff, rings, sigma, dilation, basis_filter
    )
    functions = CircularShellsBasis(maximum_frequency, GaussianRadialProfile(radii, widths)).steerable_attrs_iter()
    try:
        return tuple(Harmonic(a["radius"], a["sigma"], a["irrep:frequency"]) for a in functions if keep(a))
    except KeyError as error:
        expected = f"a filter on rings and frequencies (it asks for {error})"
        remedy = 'Decide by "radius", "sigma" and "irrep:frequency" alone.'
        raise BasisFilterError("basis_filter", basis_filter, expected, remedy) from error
