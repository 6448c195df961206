"""Chains of subgroups: which directions of an irrep stay when the group is relaxed to a subgroup."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from escnn.group import Group, GroupElement
from escnn.gspaces import GSpace
from escnn.nn import FieldType
from numpy.typing import NDArray

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.errors import ArgumentError, shown
from escnn_soft.groups import FibreGroup, dense_elements, fibre_group
from escnn_soft.linalg import extend_orthonormal, intertwiners

__all__ = ["Chain", "SubgroupChain", "SubgroupId", "restricted_type", "subgroup_chain"]

SubgroupId = Any
"""What ``escnn.group.Group.subgroup`` takes, e.g. ``4`` in C_8, ``(None, 4)`` in D_8 or ``"octa"`` in SO(3)."""

Chain = Sequence[SubgroupId]
"""Ids of subgroups H_1 > H_2 > ... > H_r of the fibre group, each inside the one before; the last stays exact."""

_REFUSALS = (AssertionError, ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError)
"""How escnn refuses the id of a subgroup."""

_WHAT = "a list of subgroup ids from large to small"


class SubgroupChain:
    r"""G > H_1 > ... > H_r, and the vectors of each irrep that H_j keeps and H_(j-1) does not.

    A weight that transforms under an irrep lambda of G is H-equivariant iff each of its coefficient vectors is fixed by
    psi_lambda restricted to H. The fixed vectors of nested subgroups are nested, so the chain grades each irrep:

        V^(H_1) (+) (V^(H_2) - V^(H_1)) (+) ... (+) (V^(H_r) - V^(H_(r-1))),     orthogonal

    Made by :func:`subgroup_chain`.

    Args:
        group: the fibre group.
        ids: of the subgroups.

    Attributes:
        names: escnn's names of the subgroups.

    Raises:
        ArgumentError: if an id names no subgroup, or a subgroup is not inside the one before.
    """

    def __init__(self, group: FibreGroup, ids: tuple[SubgroupId, ...]) -> None:
        self.group = group
        self._subgroups = [_subgroup(group.group, subgroup_id, ids) for subgroup_id in ids]
        self._generators = [[lift(h) for h in dense_elements(sub)] for sub, lift, _ in self._subgroups]
        for outer, (_, _, lower), generators in zip(ids, self._subgroups, self._generators[1:], strict=False):
            if any(lower(g) is None for g in generators):
                remedy = "Each subgroup has to lie inside the one before, and flips to share an axis."
                raise ArgumentError("chain", ids, f"{_WHAT} (one is not inside {shown(outer)})", remedy)
        self.names = tuple(str(sub.name) for sub, _, _ in self._subgroups)
        self.kept = cache(self._kept)

    @cached_property
    def elements(self) -> tuple[tuple[GroupElement, ...] | None, ...]:
        """All elements of each subgroup, as elements of the group; None for a Lie group."""
        return tuple(
            None if sub.continuous else tuple(lift(h) for h in sub.elements) for sub, lift, _ in self._subgroups
        )

    def keeps(self, stage: int, element: GroupElement) -> bool:
        """Whether an element of the group lies in the subgroup of a stage; the last is followed by none."""
        return stage < len(self._subgroups) and self._subgroups[stage][2](element) is not None

    def _kept(self, irrep: IrrepId) -> tuple[NDArray[np.float64], ...]:
        """Orthonormal vectors of an irrep by the first subgroup that fixes them, one (d, count) a subgroup."""
        psi, accepted, stages = self.group.irrep(irrep), list[NDArray[np.float64]](), list[NDArray[np.float64]]()
        for generators in self._generators:
            matrices = [np.asarray(psi(g), dtype=np.float64) for g in generators]
            new = extend_orthonormal(accepted, intertwiners(matrices, [np.ones((1, 1))] * len(matrices)))
            accepted += new
            stages.append(np.concatenate([np.zeros((psi.size, 0)), *new], axis=1))
        return tuple(stages)


def subgroup_chain(gspace: GSpace, chain: Chain) -> SubgroupChain:
    """The chain of a gspace's fibre group, the same object for equal ids.

    Args:
        gspace: escnn gspace.
        chain: ids of subgroups from large to small.

    Returns:
        The chain.

    Raises:
        ArgumentError: if it is no list of ids, an id names no subgroup, or a subgroup is not inside the one before.

    Example:
        >>> from escnn import gspaces
        >>> chain = subgroup_chain(gspaces.flipRot2dOnR2(4), [(None, 4), (None, 2)])
        >>> chain.names, [vectors.shape[1] for vectors in chain.kept((1, 2))]
        (('C4', 'C2'), [0, 1])
    """
    if not isinstance(chain, list | tuple) or not chain:
        raise ArgumentError("chain", chain, _WHAT, "Write chain=[id] to keep a single subgroup, and None to keep none.")
    try:
        return _cached(fibre_group(gspace), tuple(chain))
    except TypeError as error:  # an id that does not hash
        raise ArgumentError("chain", chain, _WHAT, "Write ids as escnn has them, with tuples, not lists.") from error


def restricted_type(field_type: FieldType, subgroup: SubgroupId) -> FieldType:
    """The same fields under a subgroup, as ``field_type.restrict`` has them.

    Args:
        field_type: fields on any gspace.
        subgroup: id of the subgroup.

    Returns:
        The restricted type.

    Raises:
        ArgumentError: if escnn has no such subgroup, or cannot restrict the gspace or a representation to it.
    """
    try:
        return field_type.restrict(subgroup)
    except _REFUSALS as error:
        gspace = field_type.gspace
        expected = f"a subgroup of {gspace} to which escnn can restrict {shown(field_type)}"
        remedy = "See gspace.restrict for the ids; a layer with chain=[subgroup] keeps subgroups that have no gspace."
        raise ArgumentError("subgroup", subgroup, expected, remedy) from error


@lru_cache(maxsize=256)
def _cached(group: FibreGroup, ids: tuple[SubgroupId, ...]) -> SubgroupChain:
    return SubgroupChain(group, ids)


def _subgroup(group: Group, subgroup_id: SubgroupId, ids: tuple[SubgroupId, ...]) -> tuple[Any, Any, Any]:
    """escnn's (subgroup, inclusion, restriction)."""
    try:
        sub, lift, lower = group.subgroup(subgroup_id)
    except _REFUSALS as error:
        expected = f"{_WHAT} (escnn knows no subgroup {shown(subgroup_id)} of {group})"
        remedy = "See gspace.restrict for the ids; write chain=[id] to keep a single subgroup."
        raise ArgumentError("chain", ids, expected, remedy) from error
    return sub, lift, lower
