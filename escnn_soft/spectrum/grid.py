"""Scalar functions on a k x k grid: escnn's sampled rings and circular harmonics, the pixel action, the remainder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from escnn.group import GroupElement
from escnn.group import groups as escnn_groups
from escnn.gspaces import GSpace2D
from numpy.typing import NDArray

from escnn_soft.errors import AliasedBasisError, GridActionError
from escnn_soft.linalg import RANK_TOLERANCE, extend_orthonormal
from escnn_soft.spectrum.fibregroup import IrrepId
from escnn_soft.spectrum.planar import PlanarGroup

__all__ = [
    "Harmonic",
    "PlanarGrid",
    "SpatialCopy",
    "grid_action",
    "grid_exact",
    "moves_pixels",
    "pixel_elements",
    "pixel_permutation",
]

Matrix = NDArray[np.float64]

ALIAS_TOLERANCE = 1e-4
"""Relative singular value below which sampled harmonics count as dependent: escnn samples them in float32."""

_REMEDY = (
    "Lower frequencies_cutoff, use fewer rings, or enlarge kernel_size, until the sampled harmonics are independent."
)


@dataclass(frozen=True)
class Harmonic:
    """A ring of Gaussian profile times a circular harmonic: exp(-(|x| - radius)^2 / (2 width^2)) e^(i j phi)."""

    radius: float
    width: float
    frequency: int  # j


@dataclass(frozen=True, eq=False)
class SpatialCopy:
    """One copy of an irrep among the functions on the grid.

    Attributes:
        irrep: the irrep's id, None for functions on which the group has no law.
        functions: sampled functions, pi(g) functions = functions psi(g).  # shape: (k * k, d)
        remainder: whether they lie beyond the band limit.
    """

    irrep: IrrepId | None
    functions: Matrix
    remainder: bool


class PlanarGrid:
    """The pixels of a k x k kernel as escnn numbers them: row by row from the top, x to the right and y upwards.

    Args:
        gspace: escnn gspace on the plane.
        kernel_size: k.
        dilation: spacing of the pixels.
    """

    def __init__(self, gspace: GSpace2D, kernel_size: int, dilation: int = 1) -> None:
        self.gspace = gspace
        self.kernel_size = kernel_size
        steps = (np.arange(kernel_size) - (kernel_size - 1) / 2) * dilation
        rows, columns = np.meshgrid(-steps, steps, indexing="ij")
        self.points: Matrix = np.stack([columns.ravel(), rows.ravel()], axis=1)  # shape: (k * k, 2)

    def sample(self, harmonic: Harmonic, axis: float) -> Matrix:
        """The pair (cos, sin) of a harmonic, angles measured from ``axis``, scaled to unit mean energy of its columns.

        Args:
            harmonic: ring and frequency.
            axis: in radians.

        Returns:
            The sampled pair, a single column for frequency 0; zero if it misses all pixels.  # shape: (k * k, 1 or 2)
        """
        pair = self._pair(harmonic, axis)
        energy = float(np.mean(np.sum(pair**2, axis=0)))
        return pair / math.sqrt(energy) if energy > RANK_TOLERANCE**2 else np.zeros_like(pair)

    def _pair(self, harmonic: Harmonic, axis: float) -> Matrix:
        x, y = self.points.T
        radius = np.hypot(x, y)
        profile = np.exp(-0.5 * ((radius - harmonic.radius) / harmonic.width) ** 2)
        angle = harmonic.frequency * (np.arctan2(y, x) - axis)
        if harmonic.frequency == 0:
            return profile[:, None]
        profile = np.where(radius > 1e-9, profile, 0.0)  # only frequency 0 has a value at the origin
        return np.stack([profile * np.cos(angle), profile * np.sin(angle)], axis=1)

    def copies(self, group: PlanarGroup, harmonics: Sequence[Harmonic]) -> list[SpatialCopy]:
        """Split the k * k functions on the grid into copies of irreps: the harmonics first, then the remainder.

        Args:
            group: the gspace's fibre group.
            harmonics: the band limit.

        Returns:
            Copies whose functions together are a basis of all functions on the grid. For a group that acts on the grid
            they are orthonormal and the pixel action is exact; otherwise they are escnn's harmonics, each pair scaled
            to unit mean energy, and an orthonormal remainder without a law.

        Raises:
            AliasedBasisError: if the sampled harmonics are linearly dependent.
        """
        axis = _axis(self.gspace, group)
        candidates = [
            (irrep, self.sample(h, axis) @ (a if h.frequency else a[:1, :]))
            for h in harmonics
            for irrep, a in (group.fold(h.frequency) if h.frequency else ((group.trivial, np.ones((1, 1))),))
        ]
        if grid_exact(self.gspace):
            return self._exact_copies(group, candidates)
        return self._continuous_copies(candidates)

    def _exact_copies(self, group: PlanarGroup, candidates: list[tuple[IrrepId, Matrix]]) -> list[SpatialCopy]:
        copies = []
        elements = group.group.elements
        permutations = [pixel_permutation(self.gspace, self.kernel_size, g) for g in elements]
        for psi in group.group.irreps():
            sampled = [v for irrep, v in candidates if irrep == psi.id and np.linalg.norm(v) > RANK_TOLERANCE]
            harmonic = extend_orthonormal([], sampled, ALIAS_TOLERANCE)
            if len(harmonic) < len(sampled):
                raise self._aliased(len(sampled) - len(harmonic), str(psi.name))
            reynolds = (
                _average(pixel, [(p, psi(g)[:, i]) for g, p in zip(elements, permutations, strict=True)])
                for pixel in range(len(self.points))
                for i in range(psi.size)
            )
            rest = extend_orthonormal(harmonic, reynolds)
            copies += [SpatialCopy(psi.id, v, False) for v in harmonic] + [SpatialCopy(psi.id, v, True) for v in rest]
        assert sum(copy.functions.shape[1] for copy in copies) == self.points.shape[0]
        return copies

    def _continuous_copies(self, candidates: list[tuple[IrrepId, Matrix]]) -> list[SpatialCopy]:
        scaled = [SpatialCopy(irrep, v, False) for irrep, v in candidates if np.linalg.norm(v) > RANK_TOLERANCE]
        if not scaled:
            return _lawless(np.eye(self.points.shape[0]))
        u, s, _ = np.linalg.svd(np.concatenate([copy.functions for copy in scaled], axis=1))
        columns = sum(copy.functions.shape[1] for copy in scaled)
        rank = int(np.sum(s > ALIAS_TOLERANCE * s[0]))
        if rank < columns:
            raise self._aliased(columns - rank, "all irreps together")
        return scaled + _lawless(np.eye(len(u)) - u[:, :rank] @ u[:, :rank].T)

    def _aliased(self, excess: int, where: str) -> AliasedBasisError:
        expected = f"independent harmonics on the {self.kernel_size} x {self.kernel_size} grid ({where})"
        return AliasedBasisError("dependent harmonics", excess, expected, _REMEDY)


def grid_exact(gspace: GSpace2D) -> bool:
    """Whether every element of the fibre group maps the pixel grid to itself: a subgroup of D_4 along the axes."""
    elements = gspace.fibergroup.elements
    return elements is not None and all(moves_pixels(gspace, g) for g in elements)


def moves_pixels(gspace: GSpace2D, element: GroupElement) -> bool:
    """Whether an element maps the pixel grid to itself, so that its action needs no interpolation."""
    matrix = gspace.basespace_action(element)
    return bool(np.abs(matrix - np.rint(matrix)).max() < 1e-9)


def pixel_elements(gspace: GSpace2D) -> tuple[GroupElement, ...]:
    """All elements of the fibre group that map the pixel grid to itself: a subgroup of D_4.

    Args:
        gspace: escnn gspace on the plane.

    Returns:
        The elements, the identity first.
    """
    group = gspace.fibergroup
    if not group.continuous:
        return tuple(g for g in group.elements if moves_pixels(gspace, g))
    turns = [2 * math.pi * i / 4 for i in range(4)]
    if not isinstance(group, escnn_groups.O2):
        return tuple(group.element(t, "radians") for t in turns)
    mirror = group.element((1, 0.0), "radians")
    tilt = math.atan2(*gspace.basespace_action(mirror)[::-1, 0])  # R(tilt) diag(1, -1)
    rotations = [group.element((0, t), "radians") for t in turns]
    reflections = [group.element((0, t - tilt), "radians") @ mirror for t in turns]
    return (*rotations, *reflections)


def grid_action(gspace: GSpace2D, element: GroupElement) -> NDArray[np.int64]:
    """The signed permutation of the plane's axes (x to the right, y upwards) that an element is.

    Args:
        gspace: escnn gspace on the plane.
        element: element of its fibre group.

    Returns:
        The matrix.  # shape: (2, 2)

    Raises:
        GridActionError: if the element does not map the pixel grid to itself.
    """
    if not moves_pixels(gspace, element):
        raise GridActionError(
            "element",
            str(element),
            "an element that maps the pixel grid to itself",
            "Only rotations by multiples of 90 degrees and reflections along the grid's axes and diagonals do.",
        )
    return np.rint(gspace.basespace_action(element)).astype(int)


def pixel_permutation(gspace: GSpace2D, kernel_size: int, element: GroupElement) -> NDArray[np.int64]:
    """Where an element sends each pixel: the value of a kernel at p moves to ``pixel_permutation(...)[p]``.

    Args:
        gspace: escnn gspace on the plane.
        kernel_size: pixels along a side.
        element: element of its fibre group.

    Returns:
        Image of every pixel.  # shape: (kernel_size * kernel_size,)

    Raises:
        GridActionError: if the element does not map the grid to itself.
    """
    grid = PlanarGrid(gspace, kernel_size)
    moved = np.rint(2 * grid.points @ grid_action(gspace, element).T).astype(int)
    index = {tuple(point): i for i, point in enumerate(np.rint(2 * grid.points).astype(int))}
    return np.array([index[tuple(point)] for point in moved])


def _axis(gspace: GSpace2D, group: PlanarGroup) -> float:
    """Angle of the mirror line of the group's first reflection, from which even and odd harmonics are counted."""
    if not group.flips:
        return 0.0
    mirror = gspace.basespace_action(_reflection(group))
    return math.atan2(mirror[1, 0], mirror[0, 0]) / 2  # a mirror line at angle a is R(2 a) diag(1, -1)


def _reflection(group: PlanarGroup) -> GroupElement:
    """The reflection that is diag(1, -1) in every two-dimensional irrep."""
    if group.rotations is None:
        return group.group.element((1, 0.0), "radians")
    return group.group.generators[-1]


def _average(pixel: int, terms: list[tuple[NDArray[np.int64], Matrix]]) -> Matrix:
    """Reynolds operator: sum over g of pi(g) delta_pixel (psi(g) e_i)^T, an intertwiner."""
    result = np.zeros((len(terms[0][0]), len(terms[0][1])))
    for permutation, row in terms:
        result[permutation[pixel]] += row
    return result


def _lawless(complement: Matrix) -> list[SpatialCopy]:
    """Orthonormal functions that span the image of an orthogonal projector."""
    return [SpatialCopy(None, v, True) for v in extend_orthonormal([], list(complement.T[:, :, None]))]
