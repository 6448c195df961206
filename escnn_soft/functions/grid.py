"""The pixels or voxels of a kernel, and the elements of the group that move them onto each other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np
from escnn.group import GroupElement, o3_group
from escnn.group import groups as escnn_groups
from escnn.gspaces import GSpace, GSpace2D
from numpy.typing import NDArray

from escnn_soft._compat.restriction import element_in
from escnn_soft.errors import GridActionError

__all__ = ["Grid", "grid_action", "grid_exact", "moves_pixels", "pixel_elements", "pixel_permutation", "stored_axes"]

Matrix = NDArray[np.float64]


class Grid:
    """The points of a k x ... x k kernel as escnn numbers them, x running fastest and to the right.

    All other axes point against the order of storage: y upwards against the rows, z against the slices.

    Args:
        dims: dimension of the base space.
        kernel_size: k; or the points along each axis in the order of storage, (rows, columns) on the plane.
        dilation: spacing of the points.

    Attributes:
        points: coordinates (x, y, ...).  # shape: (k^dims, dims)
    """

    def __init__(self, dims: int, kernel_size: int | Sequence[int], dilation: int = 1) -> None:
        sides = [kernel_size] * dims if isinstance(kernel_size, int) else kernel_size
        steps = [(np.arange(k) - (k - 1) / 2) * dilation for k in sides]
        axes = np.meshgrid(*(-step for step in steps[:-1]), steps[-1], indexing="ij")
        self.points: Matrix = np.stack([axis.ravel() for axis in reversed(axes)], axis=1)

    def permutation(self, action: NDArray[np.int64]) -> NDArray[np.int64]:
        """Image of every point under a signed permutation of the axes, (points,)."""
        moved = np.rint(2 * self.points @ action.T).astype(int)
        index = {tuple(point): i for i, point in enumerate(np.rint(2 * self.points).astype(int))}
        return np.array([index[tuple(point)] for point in moved])


def grid_exact(gspace: GSpace) -> bool:
    """Whether every element of the fibre group maps the grid to itself: a subgroup of D_4 or O_h along the axes."""
    elements = gspace.fibergroup.elements
    return elements is not None and all(moves_pixels(gspace, g) for g in elements)


def moves_pixels(gspace: GSpace, element: GroupElement) -> bool:
    """Whether an element maps the grid to itself, so that its action needs no interpolation."""
    return _is_integral(_base_action(gspace, element))


def _is_integral(matrix: Matrix) -> bool:
    return bool(np.abs(matrix - np.rint(matrix)).max() < 1e-9)


def pixel_elements(gspace: GSpace) -> tuple[GroupElement, ...]:
    """All elements of the fibre group that map the grid to itself: a subgroup of D_4, or of O_h in space.

    Args:
        gspace: escnn gspace on the plane or in space.

    Returns:
        The elements, the identity first.

    Example:
        >>> from escnn import gspaces
        >>> len(pixel_elements(gspaces.flipRot2dOnR2(-1))), len(pixel_elements(gspaces.rot3dOnR3()))
        (8, 24)
    """
    group = gspace.fibergroup
    if not group.continuous:
        exact = tuple(g for g in group.elements if moves_pixels(gspace, g))
        return tuple(sorted(exact, key=lambda g: g != group.identity))  # the icosahedral group starts elsewhere
    return _planar_elements(gspace) if gspace.dimensionality == 2 else _spatial_elements(gspace)


def _planar_elements(gspace: GSpace2D) -> tuple[GroupElement, ...]:
    group = gspace.fibergroup
    turns = [2 * np.pi * i / 4 for i in range(4)]
    if not isinstance(group, escnn_groups.O2):
        return tuple(group.element(t, "radians") for t in turns)
    mirror = group.element((1, 0.0), "radians")
    tilt = float(np.arctan2(*gspace.basespace_action(mirror)[::-1, 0]))  # R(tilt) diag(1, -1)
    rotations = [group.element((0, t), "radians") for t in turns]
    reflections = [group.element((0, t - tilt), "radians") @ mirror for t in turns]
    return (*rotations, *reflections)


def _spatial_elements(gspace: GSpace) -> tuple[GroupElement, ...]:
    """The signed permutations of the axes that lie in the group, as escnn's restriction from O(3) has them."""
    o3, elements = o3_group(), []
    for axes in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), axes] = signs
            parity = round(np.linalg.det(matrix))
            element = element_in(gspace, o3.element((int(parity < 0), parity * matrix), "MAT"))
            if element is not None:
                assert np.abs(gspace.basespace_action(element) - matrix).max() < 1e-9
                elements.append(element)
    return tuple(elements)


def grid_action(gspace: GSpace, element: GroupElement) -> NDArray[np.int64]:
    """The signed permutation of the axes (x to the right, y upwards, z against the slices) that an element is.

    Args:
        gspace: escnn gspace on the plane or in space.
        element: element of its fibre group.

    Returns:
        The matrix.  # shape: (dims, dims)

    Raises:
        GridActionError: if the element does not map the pixel grid to itself.
    """
    matrix = _base_action(gspace, element)
    if not _is_integral(matrix):
        raise GridActionError(
            "element",
            element,
            "an element that maps the pixel grid to itself",
            "Only rotations by multiples of 90 degrees and reflections along the grid's axes and diagonals do.",
        )
    return np.rint(matrix).astype(int)


def stored_axes(gspace: GSpace, element: GroupElement) -> tuple[tuple[int, int], ...]:
    """For each axis in the order of storage, (..., y, x): the axis that an element puts there, and its sign."""
    matrix = grid_action(gspace, element)[::-1, ::-1]
    return tuple((int(row.nonzero()[0][0]), int(row.sum())) for row in matrix)


def _base_action(gspace: GSpace, element: GroupElement) -> Matrix:
    """The isometry that an element is; escnn takes its time over polyhedral groups, so finite ones are remembered."""
    if element.group.continuous:
        return np.asarray(gspace.basespace_action(element), dtype=np.float64)
    return _remembered(gspace, element)


@lru_cache(maxsize=4096)
def _remembered(gspace: GSpace, element: GroupElement) -> Matrix:
    return np.array(gspace.basespace_action(element), dtype=np.float64)


def pixel_permutation(gspace: GSpace, kernel_size: int, element: GroupElement) -> NDArray[np.int64]:
    """Where an element sends each pixel: the value of a kernel at p moves to ``pixel_permutation(...)[p]``.

    Args:
        gspace: escnn gspace on the plane or in space.
        kernel_size: pixels along a side.
        element: element of its fibre group.

    Returns:
        Image of every pixel.  # shape: (kernel_size^dims,)

    Raises:
        GridActionError: if the element does not map the grid to itself.
    """
    return Grid(gspace.dimensionality, kernel_size).permutation(grid_action(gspace, element))
