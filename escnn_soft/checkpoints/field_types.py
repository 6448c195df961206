"""Spaces and field types on the plane as plain JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from escnn.group import Group, Representation
from escnn.gspaces import GSpace2D
from escnn.nn import FieldType

from escnn_soft.errors import ArgumentError
from escnn_soft.escnn.stored_arguments import subgroup_of_plane
from escnn_soft.grading import TokenShifts

__all__ = ["read_symmetry", "read_type", "tupled", "written_symmetry", "written_type"]

_REMEDY = "Write the file anew, with the version that reads it."
_SHIFTS = "shifts"
_LARGEST = 1000
"""Order of a group on the plane beyond which a file is no file of ours: escnn would take hours."""
_REFUSALS = (AssertionError, ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
"""How escnn refuses what is no id of a group, or no representation."""


def written_symmetry(symmetry: GSpace2D | TokenShifts) -> Any:
    """A gspace on the plane by its subgroup of O(2), (axis, order) as escnn has it; ``"shifts"`` for ``TokenShifts``.

    Args:
        symmetry: the gspace, or shifts of a token grid.

    Returns:
        JSON that :func:`read_symmetry` takes.

    Example:
        >>> from escnn import gspaces
        >>> written_symmetry(gspaces.rot2dOnR2(8))
        [None, 8]
        >>> read_symmetry([None, 8]) == gspaces.rot2dOnR2(8)
        True
    """
    return _SHIFTS if isinstance(symmetry, TokenShifts) else list(subgroup_of_plane(symmetry))


def read_symmetry(written: Any) -> GSpace2D | TokenShifts:
    """What :func:`written_symmetry` wrote.

    Args:
        written: JSON.

    Returns:
        The gspace, equal to that which was written, or ``TokenShifts()``.

    Raises:
        ArgumentError: if it names no subgroup of O(2).
    """
    if written == _SHIFTS:
        return TokenShifts()
    try:
        return GSpace2D(_small(tupled(written)))
    except _REFUSALS:
        expected = 'the id of a subgroup of O(2), [axis or null, order], or "shifts"'
        raise ArgumentError("symmetry", written, expected, _REMEDY) from None


def _small(subgroup: Any) -> Any:
    """The id of a subgroup, if it is one that can be built."""
    _, order = subgroup
    if type(order) is not int or order > _LARGEST:
        raise ValueError("no order of a subgroup")
    return subgroup


def written_type(field_type: FieldType) -> dict[str, Any]:
    """A field type: each representation once, by its irreps and change of basis, and how many fields of which follow.

    Args:
        field_type: on a gspace on the plane.

    Returns:
        JSON that :func:`read_type` takes.
    """
    distinct: dict[Representation, int] = {}
    for rho in field_type.representations:
        distinct.setdefault(rho, len(distinct))
    runs = groupby(distinct[rho] for rho in field_type.representations)
    return {
        "representations": [_written(rho) for rho in distinct],
        "fields": [[index, len(list(run))] for index, run in runs],
    }


def _written(rho: Representation) -> dict[str, Any]:
    basis = None if np.array_equal(rho.change_of_basis, np.eye(rho.size)) else rho.change_of_basis.tolist()
    functions = sorted(rho.supported_nonlinearities)
    return {
        "name": rho.name,
        "irreps": [list(i) for i in rho.irreps],
        "change_of_basis": basis,
        "nonlinearities": functions,
    }


def read_type(gspace: GSpace2D, written: Any, channels: int) -> FieldType:
    """The field type that :func:`written_type` wrote.

    Args:
        gspace: on which it lives.
        written: JSON.
        channels: how many it has.

    Returns:
        The type, equal to that which was written.

    Raises:
        ArgumentError: if it describes none.
    """
    try:
        representations = [_read(gspace.fibergroup, rho) for rho in written["representations"]]
        return gspace.type(
            *(representations[index] for index, n in _counted(written["fields"], channels) for _ in range(n))
        )
    except _REFUSALS:
        expected = f"representations of {gspace.fibergroup} and how many fields of each follow"
        raise ArgumentError("field type", written, expected, _REMEDY) from None


def _counted(fields: Any, channels: int) -> list[tuple[int, int]]:
    """How many fields of which representation follow each other: no more than there are channels."""
    counts = [(index, n) for index, n in fields]
    whole = all(type(number) is int and number >= 0 for pair in counts for number in pair)
    if not whole or sum(n for _, n in counts) > channels:
        raise ValueError("no numbers of fields")
    return counts


def _read(group: Group, written: Mapping[str, Any]) -> Representation:
    irreps, basis = [tupled(i) for i in written["irreps"]], written["change_of_basis"]
    size = sum(group.irrep(*i).size for i in irreps)
    matrix = np.eye(size) if basis is None else np.array(basis, dtype=float)
    if matrix.shape != (size, size) or not np.allclose(matrix @ matrix.T, np.eye(size)):
        raise ValueError("no orthogonal change of basis")
    name, functions = written["name"], written["nonlinearities"]
    known = group.regular_representation if name == "regular" else group.representations.get(name)
    if known is None:
        return Representation(group, name, irreps, matrix, functions)
    if list(known.irreps) != irreps or not np.allclose(known.change_of_basis, matrix):
        raise ValueError(f"{name} means another representation here")
    return known


def tupled(value: Any) -> Any:
    """Lists as tuples, all the way down: JSON has no tuples, and escnn's ids are some."""
    return tuple(map(tupled, value)) if isinstance(value, list | tuple) else value
