"""Hypothesis strategies for groups, gspaces and group elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import cache

from escnn import group as escnn_group
from escnn import gspaces as escnn_gspaces
from escnn.group import Group, GroupElement
from escnn.gspaces import GSpace, GSpace2D
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from escnn_soft._checks import integer
from escnn_soft.errors import ArgumentError
from escnn_soft.functions import grid_exact
from escnn_soft.testing.samples import COORDINATES, element_at, factors, grid_elements, identity_first

__all__ = ["GROUP_KINDS", "elements", "groups", "gspaces"]

_FREQUENCY = 2
"""Highest frequency of the irreps that a Lie group is built with; escnn builds higher ones when asked."""

_FAMILIES: dict[str, Callable[[int], Group]] = {
    "cyclic": escnn_group.cyclic_group,
    "dihedral": escnn_group.dihedral_group,
}
_SINGLE: dict[str, Callable[[], Group]] = {
    "Klein": escnn_group.klein4_group,
    "C3 x C3": lambda: escnn_group.double_group(escnn_group.cyclic_group(3)),
    "SO(2)": lambda: escnn_group.so2_group(_FREQUENCY),
    "O(2)": lambda: escnn_group.o2_group(_FREQUENCY),
    "cylinder": lambda: escnn_group.cylinder_group(_FREQUENCY),
    "full cylinder": lambda: escnn_group.full_cylinder_group(_FREQUENCY),
    "octahedral": escnn_group.octa_group,
    "full octahedral": escnn_group.full_octa_group,
    "icosahedral": escnn_group.ico_group,
    "full icosahedral": escnn_group.full_ico_group,
    "SO(3)": lambda: escnn_group.so3_group(_FREQUENCY),
    "O(3)": lambda: escnn_group.o3_group(_FREQUENCY),
}
GROUP_KINDS = (*_FAMILIES, *_SINGLE)
"""What ``groups(kinds)`` understands, in the order in which examples shrink."""


@cache
def _group(kind: str, order: int) -> Group:
    return _FAMILIES[kind](order) if kind in _FAMILIES else _SINGLE[kind]()


@cache
def _planar(kind: str, order: int, axis: float) -> GSpace2D:
    if kind == "trivial":
        return escnn_gspaces.trivialOnR2()
    if kind == "flip":
        return escnn_gspaces.flip2dOnR2(axis=axis)
    if kind == "rotations":
        return escnn_gspaces.rot2dOnR2(order, maximum_frequency=_FREQUENCY)
    return escnn_gspaces.flipRot2dOnR2(order, maximum_frequency=_FREQUENCY, axis=axis)


@cache
def _point(kind: str, order: int) -> GSpace:
    return escnn_gspaces.no_base_space(_group(kind, order))


def _names(kinds: Collection[str], max_rotations: int) -> list[tuple[str, int]]:
    integer("max_rotations", max_rotations, minimum=1)
    if not kinds or set(kinds) - set(GROUP_KINDS):
        raise ArgumentError("kinds", kinds, f"some of {GROUP_KINDS}", "Leave it out to draw from all of them.")
    names: list[tuple[str, int]] = []
    for kind in GROUP_KINDS:
        if kind in kinds:
            names += [(kind, n) for n in range(1, max_rotations + 1)] if kind in _FAMILIES else [(kind, 0)]
    return names


@cache
def _planar_names(max_rotations: int, grid: bool) -> tuple[tuple[str, int, float], ...]:
    orders = [*range(1, max_rotations + 1), -1]  # -1 is escnn's name of the continuous group
    vertical = math.pi / 2
    names = [("trivial", 1, 0.0), *(("rotations", n, 0.0) for n in orders)]
    names += [("flip", 1, axis) for axis in (vertical, 0.0, math.pi / 4, 0.3)]
    names += [("flips and rotations", n, vertical) for n in orders] + [("flips and rotations", 4, 0.3)]
    return tuple(name for name in names if not grid or grid_exact(_planar(*name)))


def groups(kinds: Collection[str] = GROUP_KINDS, *, max_rotations: int = 8) -> SearchStrategy[Group]:
    """Compact groups of escnn; shrinks towards cyclic groups of low order.

    Args:
        kinds: a subset of ``GROUP_KINDS``.
        max_rotations: largest N of C_N and D_N.

    Returns:
        A strategy.

    Raises:
        ArgumentError: if a kind is unknown.

    Example:
        >>> from hypothesis import given
        >>> @given(groups(["cyclic", "dihedral"]))
        ... def test_order(g):
        ...     assert g.order() == len(g.elements)
        >>> test_order()
    """
    return st.sampled_from(_names(kinds, max_rotations)).map(lambda name: _group(*name))


def gspaces(
    dimensionality: int | None = None,
    *,
    grid: bool = False,
    kinds: Collection[str] = GROUP_KINDS,
    max_rotations: int = 8,
) -> SearchStrategy[GSpace]:
    """Spaces with a symmetry group: the plane, or no base space at all; shrinks towards the trivial group.

    Args:
        dimensionality: 2 for the plane, 0 without a base space, None for both.
        grid: only those whose whole group maps pixels to pixels (C_1, C_2, C_4, D_1, D_2, D_4 and flips along the
            grid's axes or diagonals), where every statement about a convolution is exact; no matter without a base
            space.
        kinds: groups without a base space, see :func:`groups`.
        max_rotations: largest N of C_N and D_N.

    Returns:
        A strategy.

    Raises:
        ArgumentError: if the dimensionality is neither 0, 2 nor None.

    Example:
        >>> from hypothesis import given
        >>> @given(gspaces(2, grid=True))
        ... def test_exact(space):
        ...     assert grid_exact(space)
        >>> test_exact()
    """
    if dimensionality not in (0, 2, None):
        raise ArgumentError("dimensionality", dimensionality, "0, 2 or None", "Three dimensions are not covered.")
    without: SearchStrategy[GSpace] = st.sampled_from(_names(kinds, max_rotations)).map(lambda name: _point(*name))
    if dimensionality == 0:
        return without
    names = _planar_names(max_rotations, grid)
    planar: SearchStrategy[GSpace] = st.sampled_from(names).map(lambda name: _planar(*name))
    return planar if dimensionality == 2 else planar | without


def elements(group: Group | GSpace, *, grid: bool = False) -> SearchStrategy[GroupElement]:
    """Elements of a group, or of a gspace's fibre group; shrinks towards the identity.

    Args:
        group: the group or gspace.
        grid: only those that map the pixel grid to itself; needs a gspace on the plane to say what moves pixels, and
            is no restriction without a base space.

    Returns:
        A strategy.

    Raises:
        ArgumentError: if ``grid`` is asked for with a bare group.

    Example:
        >>> from escnn import gspaces
        >>> from hypothesis import given
        >>> @given(elements(gspaces.rot2dOnR2(8), grid=True))
        ... def test_quarter_turns(g):
        ...     assert g @ g @ g @ g == g.group.identity
        >>> test_quarter_turns()
    """
    if grid and isinstance(group, Group):
        remedy = "Pass the gspace: where its group's mirror axis lies decides which elements move pixels to pixels."
        raise ArgumentError("group", group, "a GSpace beside grid=True", remedy)
    if isinstance(group, GSpace):
        if grid and group.dimensionality == 2:
            return st.sampled_from(grid_elements(group))
        group = group.fibergroup
    if group.elements is not None:
        return st.sampled_from(identity_first(group))
    size = COORDINATES * factors(group)
    bits = st.lists(st.floats(0, 1), min_size=size, max_size=size)
    return bits.map(lambda coordinates: element_at(group, coordinates))
