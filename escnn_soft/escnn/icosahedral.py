"""What the two icosahedral convolutions share: their gspace, and the arguments that escnn's layers store."""

from __future__ import annotations

from typing import Any

from escnn.group import Icosahedral
from escnn.nn import EquivariantModule, FieldType

from escnn_soft.errors import ArgumentError, GSpaceError

__all__ = ["check_icosahedral", "stored_samples"]


def check_icosahedral(in_type: FieldType) -> None:
    """Refuse other groups."""
    if not isinstance(in_type.fibergroup, Icosahedral):
        expected = "a gspace of the icosahedral group"
        remedy = "Use gspaces.icoOnR3, or SoftR3Conv for other groups."
        raise GSpaceError("in_type.gspace", in_type.gspace, expected, remedy)


def stored_samples(arguments: dict[str, Any], layer: EquivariantModule) -> dict[str, Any]:
    """Arguments of an escnn layer, with its ``samples`` instead of a cut-off."""
    cutoff = arguments.pop("frequencies_cutoff")
    if cutoff is not None:
        raise ArgumentError("frequencies_cutoff", cutoff, "None for an icosahedral layer", "It has no cut-off.")
    return {**arguments, "samples": layer._samples}
