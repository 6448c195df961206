"""The token grid of a vision transformer: tables of positions, and maps between grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from escnn.gspaces import GSpace, GSpace2D
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.errors import GridActionError, GSpaceError, ShapeError
from escnn_soft.functions import Grid, grid_action, grid_exact
from escnn_soft.grading.graded import Grading
from escnn_soft.grading.positions.permutations import GradedPermutation, SignedPermutations, graded_permutation
from escnn_soft.grading.positions.shifts import TokenShifts, graded_shifts
from escnn_soft.grading.positions.token_rings import graded_rings
from escnn_soft.groups import fibre_group

__all__ = ["TokenTable", "token_maps", "token_permutations", "token_spectrum"]

_FULL = "Quarter turns and diagonal mirrors need a square grid; half turns and mirrors along its axes do not."


@dataclass(frozen=True)
class TokenTable:
    """Where the points of a grid stand in a tensor: along one axis in rows, or along two; class tokens beside them.

    Attributes:
        shape: of the tensor.
        axis: axis of the tokens.
        sides: (rows, columns) of the grid.
        before: entries before the grid's along the axis: class and register tokens.
        offsets: whether the points are offsets between tokens, which no shift changes, and not tokens.
        by_columns: whether the points are stored column by column.
    """

    shape: tuple[int, ...]
    axis: int
    sides: tuple[int, int]
    before: int = 0
    offsets: bool = False
    by_columns: bool = False

    def __post_init__(self) -> None:
        """Check that the grid fits."""
        if self.axis >= len(self.shape) or self.after < 0:
            expected = f"{self.before} + {self.sides[0]} x {self.sides[1]} entries or more along axis {self.axis}"
            raise ShapeError(
                "table.shape",
                self.shape,
                expected,
                "Correct the axis, the sides of the token grid, or how many entries come before it.",
            )

    def __str__(self) -> str:
        points = "offsets" if self.offsets else "tokens"
        return f"{self.sides[0]} x {self.sides[1]} {points}"

    @property
    def _along_two_axes(self) -> bool:
        return self.before == 0 and self.shape[self.axis : self.axis + 2] == self.sides

    @property
    def points(self) -> int:
        """Number of points of the grid."""
        return self.sides[0] * self.sides[1]

    @property
    def order(self) -> Tensor:
        """The points as they are stored, each by its number row by row."""
        numbers = torch.arange(self.points)
        return numbers.view(self.sides).T.flatten() if self.by_columns else numbers

    @property
    def after(self) -> int:
        """Entries after the grid's."""
        if self._along_two_axes:
            return 0
        return self.shape[self.axis] - self.before - self.points

    @property
    def lead(self) -> int:
        """Product of the sizes before the tokens."""
        return math.prod(self.shape[: self.axis])

    @property
    def trail(self) -> int:
        """Product of the sizes after the tokens."""
        return math.prod(self.shape) // (self.lead * (self.before + self.points + self.after))


def token_spectrum(symmetry: GSpace2D | TokenShifts, table: TokenTable) -> Grading:
    r"""Grade the functions on a token grid by (g . f)(p) = f(g^-1 p); what belongs to no point is left alone.

    * A group that acts on the grid permutes its points: isotypic projections, exact.
    * Other C_N and D_N, SO(2) and O(2): circular harmonics on rings about the centre, fitted by least squares; what
      they do not reach is the remainder, the last level. The elements that do map the grid to itself act exactly here
      too: rings and harmonics are theirs as well.
    * Shifts of the grid, around its edges: waves.

    Args:
        symmetry: gspace on the plane, or shifts of the grid.
        table: where the grid stands in the tensor.

    Returns:
        The splitting of tensors of the table's shape, in float64. Class and register tokens are in its first level.

    Raises:
        GSpaceError: if the gspace is not on the plane.
        GridActionError: if the group turns the grid by quarters and the grid is not square, or if shifts are to move
            offsets.

    Example:
        >>> import torch
        >>> from escnn import gspaces
        >>> graded = token_spectrum(gspaces.rot2dOnR2(4), TokenTable((1, 5, 2), axis=1, sides=(2, 2), before=1))
        >>> [level.dim for level in graded.levels]
        [4, 4, 2]
        >>> position = 1 + torch.arange(10.0, dtype=torch.float64).view(1, 5, 2)
        >>> graded.filtered(position, (graded.dial == 0).double())[0, :, 0].round(decimals=9)
        tensor([1., 6., 6., 6., 6.], dtype=torch.float64)
    """
    if isinstance(symmetry, TokenShifts):
        if table.offsets:
            remedy = "Offsets do not change under shifts, but for what wraps around the edges."
            raise GridActionError("symmetry", symmetry, "turns or mirrors for a table of offsets", remedy)
        return graded_shifts(table.sides, table.before, table.after, table.lead, table.trail)
    _check_plane(symmetry)
    if not grid_exact(symmetry):
        return graded_rings(
            symmetry, table.sides, table.before, table.after, table.lead, table.trail, order=table.order
        )
    rows = token_permutations(symmetry, table.sides).reordered(table.order).fixed(table.before, table.after)
    return graded_permutation(fibre_group(symmetry), rows, lead=table.lead, trail=table.trail)


def token_maps(gspace: GSpace2D, in_sides: tuple[int, int], out_sides: tuple[int, int]) -> GradedPermutation:
    r"""Grade the maps between functions on two grids by (g . W)(p, q) = W(g^-1 p, g^-1 q).

    The equivariant level has one direction an orbit of pairs: (1 / |G|) sum_g fix_out(g) fix_in(g) of them.

    Args:
        gspace: gspace on the plane whose group acts on both grids.
        in_sides: (rows, columns) of the input's grid, n points.
        out_sides: (rows, columns) of the output's grid, m points.

    Returns:
        The splitting of weights (m, n), in float64.

    Raises:
        GSpaceError: if the gspace is not on the plane.
        GridActionError: if the group does not act on the grids.

    Example:
        >>> from escnn import gspaces
        >>> token_maps(gspaces.flipRot2dOnR2(4), (14, 14), (14, 14)).levels[0].dim
        4851
    """
    _check_plane(gspace)
    rows, columns = token_permutations(gspace, out_sides), token_permutations(gspace, in_sides)
    return graded_permutation(fibre_group(gspace), rows, columns)


def token_permutations(gspace: GSpace2D, sides: tuple[int, int]) -> SignedPermutations:
    """How a finite group permutes the points of a grid (rows, columns); ``GridActionError`` if it does not."""
    if not grid_exact(gspace):
        remedy = "Take C_2, C_4, D_1, D_2 or D_4, or a mirror along the grid's axes or diagonals."
        raise GridActionError("gspace", gspace, "a group that maps the grid of tokens to itself", remedy)
    matrices = [grid_action(gspace, g) for g in gspace.fibergroup.elements]
    if sides[0] != sides[1] and any(matrix[0, 0] == 0 for matrix in matrices):
        raise GridActionError("token grid", sides, f"a square grid for {gspace.name}", _FULL)
    return _permutations(sides, tuple(tuple(matrix.ravel().tolist()) for matrix in matrices))


@lru_cache(maxsize=64)
def _permutations(sides: tuple[int, int], matrices: Sequence[tuple[int, ...]]) -> SignedPermutations:
    """Shared by all tables of a model."""
    grid = Grid(2, sides)
    images: list[NDArray[np.int64]] = [grid.permutation(np.array(matrix).reshape(2, 2)) for matrix in matrices]
    return SignedPermutations.of(images)


def _check_plane(gspace: GSpace) -> None:
    if not isinstance(gspace, GSpace2D):
        remedy = "Take one of escnn.gspaces.*OnR2, or TokenShifts()."
        raise GSpaceError("gspace", gspace, "a gspace on the plane", remedy)
