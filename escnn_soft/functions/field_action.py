"""How a group element acts on a field of features: fibres by the representation, pixels by moving them, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from escnn.group import GroupElement, Representation
from escnn.nn import FieldType, GeometricTensor
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.functions.grid import grid_action

__all__ = ["act", "act_on_fibres", "act_on_rows", "matrix_at"]


def act(element: GroupElement, field: GeometricTensor) -> GeometricTensor:
    """(g . x)(p) = rho(g) x(g^-1 p), without interpolation: escnn's own ``transform`` resamples even quarter turns.

    Args:
        element: an element of the gspace's fibre group that maps the pixel grid to itself.
        field: a feature vector, an image on the plane or a volume, with equal sides or not.

    Returns:
        The transformed field, of the same type; a quarter turn swaps two sides.

    Raises:
        GridActionError: if the element does not map the pixel grid to itself.

    Example:
        >>> from escnn import gspaces
        >>> space = gspaces.rot2dOnR2(4)
        >>> x = space.type(space.trivial_repr)(torch.arange(4.0).view(1, 1, 2, 2))
        >>> act(space.fibergroup.element(1), x).tensor[0, 0]
        tensor([[1., 3.],
                [0., 2.]])
    """
    return GeometricTensor(
        _on_points(element, act_on_fibres(element, field.tensor, field.type), field.type), field.type
    )


def act_on_fibres(element: GroupElement, x: Tensor, field_type: FieldType) -> Tensor:
    """rho(g) x at every point of x (n, channels, ...)."""
    return act_on_rows(element, x.transpose(0, 1), field_type.representations).transpose(0, 1)


def act_on_rows(element: GroupElement, rows: Tensor, representations: Sequence[Representation]) -> Tensor:
    """rho(g) x for a sum of representations, field by field; the whole matrix is never formed. x: (channels, ...)."""
    parts, start = [], 0
    for _, run in groupby(representations, key=lambda rho: rho.name):
        fields = list(run)
        size, stop = fields[0].size, start + len(fields) * fields[0].size
        rho = torch.from_numpy(matrix_at(fields[0], element)).to(rows)
        part = rows[start:stop]
        parts.append((rho @ part.reshape(len(fields), size, -1)).reshape(part.shape))
        start = stop
    return torch.cat(parts)


def matrix_at(rho: Representation, element: GroupElement) -> NDArray[np.float64]:
    """rho(g), not to be changed; escnn takes its time over many groups, so that of finite groups is remembered."""
    if element.group.continuous:
        return np.asarray(rho(element), dtype=np.float64)
    return _remembered(rho, element)


@lru_cache(maxsize=4096)
def _remembered(rho: Representation, element: GroupElement) -> NDArray[np.float64]:
    return np.array(rho(element), dtype=np.float64)


def _on_points(element: GroupElement, x: Tensor, field_type: FieldType) -> Tensor:
    dims = field_type.gspace.dimensionality
    if dims == 0:
        return x
    matrix = grid_action(field_type.gspace, element)
    sources = [int(np.flatnonzero(row)[0]) for row in matrix]  # the coordinate that becomes x, y, z
    # Coordinate a is stored along axis -1 - a, x forwards and all others backwards.
    x = x.permute(*range(x.dim() - dims), *(x.dim() - 1 - source for source in reversed(sources)))
    signs = (int(matrix[a, source]) * (1 if (a == 0) == (source == 0) else -1) for a, source in enumerate(sources))
    return x.flip([-1 - a for a, sign in enumerate(signs) if sign < 0])
