"""A gspace in space keeps how it lies in O(3) under a private name."""

from __future__ import annotations

from escnn.group import GroupElement
from escnn.gspaces import GSpace3D

__all__ = ["element_in"]


def element_in(gspace: GSpace3D, element: GroupElement) -> GroupElement | None:
    """The element of a gspace's group that moves points as an element of O(3) does; None where there is none."""
    found: GroupElement | None = gspace._restriction(element)
    return found
