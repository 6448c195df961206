"""escnn's groups and representations as matrix groups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from escnn.group import Group, GroupElement, Representation
from escnn.group import groups as escnn_groups
from numpy.typing import NDArray
from scipy.linalg import logm
from torch import Tensor

from escnn_soft._checks import instance
from escnn_soft.errors import RepresentationError
from escnn_soft.groups.fibregroup import Circle
from escnn_soft.groups.matrix import haar
from escnn_soft.groups.matrix.generators import Generators, without_rounding
from escnn_soft.groups.matrix.matrix_group import MatrixGroup
from escnn_soft.groups.matrix.matrix_representation import MatrixFactor, MatrixField, MatrixRepresentation

__all__ = ["escnn_matrix_group", "escnn_matrix_representation"]

_ANGLE = 2.0**-5
"""Radians at which a rotation's logarithm is taken: right for frequencies below 100, and exact to 1e-14."""

_ESCNN_ROUNDING = 1e-8
"""Of matrices that are known to be orthogonal: some come from escnn's numeric coefficients, and logarithms."""

_HAAR: dict[type[Group], haar.Haar] = {
    escnn_groups.SO2: haar.special_orthogonal,
    escnn_groups.O2: haar.orthogonal,
    escnn_groups.SO3: haar.special_orthogonal,
    escnn_groups.O3: haar.orthogonal,
}


def escnn_matrix_group(group: Group) -> MatrixGroup:
    """The matrix group of a finite escnn group, or of SO(2), O(2), SO(3) or O(3).

    Its defining matrices are escnn's standard representation, of finite groups the regular one. Discrete generators
    are escnn's, unscaled.

    Args:
        group: the escnn group.

    Returns:
        The group.

    Raises:
        RepresentationError: if it is another Lie group.

    Example:
        >>> from escnn.group import so3_group
        >>> escnn_matrix_group(so3_group(1)).size
        3
    """
    instance("group", group, Group, "Pass an escnn group, e.g. escnn.group.so3_group().")
    _generators(group)  # refuses what has no standard representation
    rho = group.standard_representation() if group.continuous else group.regular_representation
    return MatrixGroup(group.name, _images(rho), _HAAR.get(type(group)))


def escnn_matrix_representation(rho: Representation) -> MatrixRepresentation:
    """An escnn representation as one of :func:`escnn_matrix_group` of its group.

    Args:
        rho: of a finite group, or of SO(2), O(2), SO(3) or O(3).

    Returns:
        The representation, with the same channels.

    Raises:
        RepresentationError: if its group is another Lie group.

    Example:
        >>> from escnn.group import so3_group
        >>> escnn_matrix_representation(so3_group(2).irrep(2))
        SO(3): irrep_2
    """
    instance("rho", rho, Representation, "Pass an escnn representation.")
    group = escnn_matrix_group(rho.group)
    return MatrixRepresentation(group, (MatrixField(group, (MatrixFactor(rho.name, _images(rho)),)),))


def _images(rho: Representation) -> Generators:
    circles, discrete = _generators(rho.group)
    algebra = [torch.from_numpy(np.real(logm(rho(circle(_ANGLE))))) / _ANGLE for circle in circles]
    matrices = [torch.from_numpy(np.asarray(rho(g), dtype=np.float64)) for g in discrete]
    images = Generators(_stack(algebra, rho.size), _stack(matrices, rho.size))
    return without_rounding(images, _ESCNN_ROUNDING) if _is_orthogonal(rho) else images


def _generators(group: Group) -> tuple[list[Circle], list[GroupElement]]:
    """One-parameter subgroups about the axes, and discrete generators."""
    if not group.continuous:
        return [], list(group.generators) or [group.identity]
    if isinstance(group, escnn_groups.SO2):
        return [lambda t: group.element(t, "radians")], []
    if isinstance(group, escnn_groups.O2):
        return [lambda t: group.element((0, t), "radians")], [group.reflection]
    if isinstance(group, escnn_groups.SO3):
        return [partial(_turn, group, axis) for axis in np.eye(3)], []
    if isinstance(group, escnn_groups.O3):
        return [partial(_proper_turn, group, axis) for axis in np.eye(3)], [group.inversion]
    expected = "a representation of a finite group, SO(2), O(2), SO(3) or O(3)"
    remedy = "Give the generators' matrices yourself: MatrixGroup.of and MatrixRepresentation.of."
    raise RepresentationError("group", group, expected, remedy)


def _turn(group: Group, axis: NDArray[np.float64], angle: float) -> GroupElement:
    return group.element(angle * axis, "EV")


def _proper_turn(group: Group, axis: NDArray[np.float64], angle: float) -> GroupElement:
    return group.element((0, angle * axis), "EV")


def _is_orthogonal(rho: Representation) -> bool:
    q = np.asarray(rho.change_of_basis)
    return bool(np.allclose(q.T @ q, np.eye(rho.size), rtol=0, atol=1e-10))


def _stack(matrices: Sequence[Tensor], size: int) -> Tensor:
    return torch.stack(list(matrices)) if matrices else torch.zeros(0, size, size, dtype=torch.float64)
