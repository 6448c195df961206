"""From an escnn group or gspace to its :class:`FibreGroup`, one per group."""

from __future__ import annotations

from collections.abc import MutableMapping

import numpy as np
from escnn.group import DirectProductGroup, Group
from escnn.group import groups as escnn_groups
from escnn.gspaces import GSpace
from torch.utils.weak import WeakIdKeyDictionary

from escnn_soft.groups.compact import CompactGroup
from escnn_soft.groups.fibregroup import FibreGroup
from escnn_soft.groups.planar import PlanarGroup

__all__ = ["fibre_group"]

_of_gspace: MutableMapping[GSpace, FibreGroup] = WeakIdKeyDictionary()
"""Those that were asked for: a determinant for each element takes its time. Gspaces do not hash either."""
_known: list[tuple[Group, bool, FibreGroup]] = []
"""escnn's groups compare by value but do not hash."""


def fibre_group(gspace: GSpace) -> FibreGroup:
    """The fibre group of a gspace, with the knowledge whether its C_2 turns or mirrors (or inverts).

    Args:
        gspace: any escnn gspace.

    Returns:
        The graded group; the same object for equal gspaces' groups, so that its Clebsch-Gordan memo is shared.
    """
    found = _of_gspace.get(gspace)
    if found is None:
        group = gspace.fibergroup
        mirror = gspace.dimensionality > 0 and any(
            np.linalg.det(gspace.basespace_action(g)) < 0 for g in group.testing_elements()
        )
        found = _of_gspace[gspace] = _of_group(group, mirror=mirror)
    return found


def _of_group(group: Group, *, mirror: bool = False) -> FibreGroup:
    for known, mirrored, graded in _known:
        if mirrored == mirror and known == group:
            return graded
    made = _made(group, mirror)
    _known.append((group, mirror, made))
    return made


def _made(group: Group, mirror: bool) -> FibreGroup:
    if isinstance(group, escnn_groups.CyclicGroup):
        return PlanarGroup(group, 1 if mirror else group.order(), mirror)
    if isinstance(group, escnn_groups.DihedralGroup):
        return PlanarGroup(group, group.rotation_order, True)
    if isinstance(group, escnn_groups.SO2):
        return PlanarGroup(group, None, False)
    if isinstance(group, escnn_groups.O2):
        return PlanarGroup(group, None, True)
    factors = (_of_group(group.G1), _of_group(group.G2)) if isinstance(group, DirectProductGroup) else ()
    return CompactGroup(group, factors)
