"""Which rings and frequencies escnn's point convolutions keep."""

from __future__ import annotations

from numbers import Real

from escnn_soft._checks import integer
from escnn_soft.errors import ArgumentError
from escnn_soft.escnn.kept_rings import BasisFilter, FrequenciesCutoff, filtered_harmonics
from escnn_soft.escnn.point_convolutions import point_rules
from escnn_soft.functions import Harmonic

__all__ = ["harmonics_at_points"]


def harmonics_at_points(
    *,
    frequencies_cutoff: FrequenciesCutoff | None,
    rings: list[float] | None,
    sigma: list[float] | float | None,
    width: float | None,
    n_rings: int | None,
    basis_filter: BasisFilter | None,
    dims: int,
) -> tuple[Harmonic, ...]:
    """The rings and frequencies that ``R2PointConv`` or ``R3PointConv`` keeps, by its own rules and arguments."""
    _check_rings(rings, width, n_rings)
    _check_widths(sigma, n_rings if rings is None else len(rings))
    if frequencies_cutoff is not None and not (callable(frequencies_cutoff) or isinstance(frequencies_cutoff, float)):
        expected, remedy = "a float or a function of the radius", "Pass e.g. 3.0: the highest frequency per radius."
        raise ArgumentError("frequencies_cutoff", frequencies_cutoff, expected, remedy)
    keep, radii, widths, maximum_frequency = point_rules(frequencies_cutoff, rings, sigma, width, n_rings, basis_filter)
    return filtered_harmonics(radii, widths, maximum_frequency, keep, dims)


def _check_rings(rings: list[float] | None, width: float | None, n_rings: int | None) -> None:
    if (rings is None) == (width is None and n_rings is None) or (rings is None and None in (width, n_rings)):
        given = {"rings": rings, "width": width, "n_rings": n_rings}
        remedy = "They are in the units of the points: choose them by the lengths of the edges."
        raise ArgumentError("rings, width, n_rings", given, "either rings alone, or both width and n_rings", remedy)
    if rings is None:
        assert n_rings is not None
        integer("n_rings", n_rings, minimum=1)
        if isinstance(width, bool) or not isinstance(width, Real) or not width > 0:
            raise ArgumentError("width", width, "a number > 0", "Pass the radius of the largest ring.")
    elif not (isinstance(rings, list) and rings and all(r >= 0 for r in rings) and len(set(rings)) == len(rings)):
        raise ArgumentError("rings", rings, "a list of different radii >= 0", "Leave out repeated radii.")


def _check_widths(sigma: list[float] | float | None, count: int | None) -> None:
    expected = "one width > 0, or one per ring"
    if isinstance(sigma, list):
        if len(sigma) != count or not all(width > 0 for width in sigma):
            raise ArgumentError("sigma", sigma, expected, "Pass rings and sigma of equal length.")
    elif sigma is not None and not (isinstance(sigma, float) and sigma > 0):
        raise ArgumentError("sigma", sigma, expected, "Pass a float, such as 0.6.")
