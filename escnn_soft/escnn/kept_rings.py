"""Which rings and frequencies escnn's convolutions keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any

from escnn.group import Group, o3_group
from escnn.kernels import CircularShellsBasis, GaussianRadialProfile
from escnn.nn.modules.conv import r2convolution, r3convolution

from escnn_soft.errors import ArgumentError, BasisFilterError
from escnn_soft.functions import Harmonic, VertexShell

__all__ = [
    "BasisFilter",
    "FrequenciesCutoff",
    "check_rings",
    "exactly",
    "filtered_harmonics",
    "kept_harmonics",
    "kept_shells",
]

BasisFilter = Callable[[dict[str, Any]], bool]
FrequenciesCutoff = float | Callable[[float], float]

_ORDERS = {"ico": 3, "dodeca": 5, "icosidodeca": 2}
"""Order of the rotations that fix a vertex, as escnn has them: its "ico" has 20 vertices and its "dodeca" 12."""

_NO_CUTOFF = 5.0
"""What ``R3IcoConv`` passes on as its cut-off."""

_RULES = {2: r2convolution.compute_basis_params, 3: r3convolution.compute_basis_params}


def kept_harmonics(
    kernel_size: int,
    frequencies_cutoff: FrequenciesCutoff | None,
    rings: list[float] | None,
    sigma: list[float] | float | None,
    dilation: int,
    basis_filter: BasisFilter | None,
    dims: int = 2,
) -> tuple[Harmonic, ...]:
    """The rings and frequencies that ``R2Conv`` or ``R3Conv`` keeps, by its own rules and arguments."""
    check_rings(kernel_size, rings, sigma, dilation, dims)
    keep, radii, widths, maximum_frequency = _RULES[dims](
        kernel_size, frequencies_cutoff, rings, sigma, dilation, basis_filter
    )
    return filtered_harmonics(radii, widths, maximum_frequency, keep, dims)


def filtered_harmonics(
    radii: list[float], widths: list[float], maximum_frequency: int, keep: BasisFilter, dims: int
) -> tuple[Harmonic, ...]:
    """The harmonics on some rings, up to a frequency, that a filter keeps.

    Args:
        radii: of the rings.
        widths: of the rings.
        maximum_frequency: the highest.
        keep: function of escnn's attributes of a harmonic.
        dims: of the base space.

    Returns:
        The harmonics, with escnn's float32 radii and widths.

    Raises:
        BasisFilterError: if the filter asks for other attributes.
    """
    attributes = _on_plane if dims == 2 else _in_space
    functions = attributes(maximum_frequency, GaussianRadialProfile(radii, widths))
    try:
        return tuple(Harmonic(a["radius"], a["sigma"], a["irrep:frequency"]) for a in functions if keep(a))
    except KeyError as error:
        expected = f"a filter on rings and frequencies (it asks for {error})"
        remedy = 'Decide by "radius", "sigma" and "irrep:frequency" alone.'
        raise BasisFilterError("basis_filter", keep, expected, remedy) from error


def kept_shells(
    kernel_size: int,
    samples: str,
    rings: list[float] | None,
    sigma: list[float] | float | None,
    dilation: int,
    basis_filter: BasisFilter | None,
    group: Group,
) -> tuple[VertexShell, ...]:
    """The vertices and irreps that ``R3IcoConv`` keeps, by its own rules and arguments."""
    if samples not in _ORDERS:
        remedy = "Choose one; fewer vertices need fewer voxels."
        raise ArgumentError("samples", samples, f"one of {tuple(_ORDERS)}", remedy)
    check_rings(kernel_size, rings, sigma, dilation, 3)
    keep, radii, widths, _ = r3convolution.compute_basis_params(
        kernel_size, _NO_CUTOFF, rings, sigma, dilation, basis_filter
    )
    functions = (
        {**{f"irrep:{name}": value for name, value in psi.attributes.items()}, "radius": r, "sigma": w, "j": psi.id}
        for r, w in zip(radii, widths, strict=True)
        for psi in group.irreps()
    )
    try:
        return tuple(VertexShell(a["radius"], a["sigma"], _ORDERS[samples], a["j"]) for a in functions if keep(a))
    except KeyError as error:
        expected = f"a filter on rings and irreps (it asks for {error})"
        remedy = 'Decide by "radius", "sigma", "j" and "irrep:frequency" alone.'
        raise BasisFilterError("basis_filter", basis_filter, expected, remedy) from error


def exactly(kept: Iterable[tuple[float, float, int]]) -> tuple[Callable[[float], float], BasisFilter]:
    """The cut-off and basis filter that keep these (radius, width, frequency) and nothing else."""
    triples = frozenset(kept)
    highest = {radius: max(j for r, _, j in triples if r == radius) for radius, _, _ in triples}
    return (
        lambda radius: highest.get(radius, 0),
        lambda attributes: (attributes["radius"], attributes["sigma"], attributes["irrep:frequency"]) in triples,
    )


def check_rings(
    kernel_size: int, rings: list[float] | None, sigma: list[float] | float | None, dilation: int, dims: int
) -> None:
    """Refuse rings outside the kernel, and widths that do not belong to rings."""
    farthest = dilation * (kernel_size - 1) / 2 * math.sqrt(dims)
    if rings is not None and not (rings and all(0 <= radius <= farthest for radius in rings)):
        remedy = "Radii are in pixels, from the kernel's centre to its corners at most."
        raise ArgumentError("rings", rings, f"a list of radii in [0, {farthest:.3g}]", remedy)
    if isinstance(sigma, list) and (rings is None or len(sigma) != len(rings)):
        raise ArgumentError("sigma", sigma, "one width, or one per ring", "Pass rings and sigma of equal length.")


def _on_plane(maximum_frequency: int, profile: GaussianRadialProfile) -> Iterator[dict[str, Any]]:
    """Attributes of escnn's circular shells."""
    return CircularShellsBasis(maximum_frequency, profile).steerable_attrs_iter()


def _in_space(maximum_frequency: int, profile: GaussianRadialProfile) -> Iterator[dict[str, Any]]:
    """Attributes of escnn's spherical shells, without the search for Clebsch-Gordan coefficients that builds them."""
    group = o3_group(maximum_frequency)
    for index, (j, ring) in enumerate(product(range(maximum_frequency + 1), enumerate(profile))):
        irrep = group.irrep(j % 2, j)
        angular = {f"irrep:{name}": value for name, value in irrep.attributes.items()}
        yield {**angular, **ring[1], "idx": index, "radial_idx": ring[0], "j": irrep.id, "shape": (1, 1)}
