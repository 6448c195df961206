"""The spectrum of maps between representations of a matrix group: levels of the stacked generators."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft._lasting import lasting
from escnn_soft.bounds import Orbit
from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.errors import ShapeError
from escnn_soft.grading.block import Block
from escnn_soft.grading.frame import ChannelFrame
from escnn_soft.grading.levels import Level
from escnn_soft.grading.pair_basis import PairBasis
from escnn_soft.grading.transform import WeightTransform
from escnn_soft.groups import Generators, MatrixElement, MatrixField, MatrixGroup, MatrixRepresentation
from escnn_soft.groups.matrix.constraints import constraint_gram, constraints, intertwines, maps_to_itself, stable
from escnn_soft.groups.matrix.equivariant_maps import check_groups_agree
from escnn_soft.groups.matrix.matrix_representation import MatrixFactor
from escnn_soft.groups.matrix.matrix_splitting import STEPS, average, intertwiner, split
from escnn_soft.linalg import ZERO_TOLERANCE, singular_levels

__all__ = ["matrix_transform"]

DENSE_LIMIT = 3000
"""Largest d_out * d_in between two irreps (or fields that are not orthogonal) whose levels are computed."""

SIGMA_TOLERANCE = 1e-6
"""Violations that differ by less, as a fraction of the largest, are one level; 0 is a level of its own."""


@dataclass(frozen=True, eq=False)
class Piece:
    """An irrep, or a field that does not split because it is not orthogonal.

    Attributes:
        generators: images of the group's generators.
        samples: an irrep's matrices of the spectrum's random elements; None for other fields.  # shape: (k, d, d)
    """

    generators: Generators
    samples: Tensor | None

    @property
    def size(self) -> int:
        """Its dimension."""
        return self.generators.size

    def __call__(self, element: MatrixElement) -> NDArray[np.float64]:
        """Its matrix of an element, (size, size)."""
        return self.generators.matrix(element).numpy()

    @property
    def excursion(self) -> float:
        """Upper bound on ||psi(g) - I||: 2 where all matrices are orthogonal, else none."""
        return 2.0 if self.samples is not None or self.generators.orthogonal else math.inf


@dataclass(frozen=True, eq=False)
class SplitField:
    """A field, split into pieces.

    Attributes:
        name: unique in the group.
        size: number of channels.
        irreps: ids of its pieces.
        change_of_basis: from the pieces, one after the other, to the channels.  # shape: (size, size)
    """

    name: str
    size: int
    irreps: tuple[IrrepId, ...]
    change_of_basis: NDArray[np.float64]


class MatrixSpectrum:
    """The pieces of a group's representations, and a graded basis of the maps between any two; one object a group.

    A level is a whole eigenspace, in which several irreps may lie: that of the equivariant maps has the trivial one,
    the others have none.

    Args:
        group: the group.
    """

    trivial: IrrepId = ("trivial",)

    def __init__(self, group: MatrixGroup) -> None:
        self.group = group
        self.pieces: list[Piece] = []
        self.split = cache(self._split)
        self.between = cache(self._between)
        self._samples = cache(self._factor_samples)
        self._add(self._scalar)  # first, so that whatever is trivial is recognised as such

    def irrep(self, *irrep: Any) -> Piece:
        """A piece by its id."""
        return self._scalar if irrep == self.trivial else self.pieces[irrep[0]]

    def size(self, irrep: IrrepId) -> int:
        """Dimension of a piece."""
        return self.irrep(*irrep).size

    def orbit(self, irreps: Sequence[IrrepId]) -> Orbit:
        """Random elements: generators alone do not tell how dense they lie, so that only the excursions certify."""
        pieces = [self.irrep(*irrep) for irrep in irreps]
        stacks = tuple((torch.stack([piece.generators.matrix(g) for g in self._elements]),) for piece in pieces)
        excursions = tuple(0.0 if piece is self._scalar else piece.excursion for piece in pieces)
        return Orbit(stacks, excursions, math.inf)

    @cached_property
    def _scalar(self) -> Piece:
        return Piece(MatrixField(self.group, ()).generators, torch.ones(STEPS, 1, 1, dtype=torch.float64))

    def __reduce__(self) -> tuple[Callable[[MatrixGroup], MatrixSpectrum], tuple[MatrixGroup]]:
        """Copies, and what is read from a file, are the one object of the group."""
        return matrix_spectrum, (self.group,)

    @cached_property
    def _elements(self) -> tuple[MatrixElement, ...]:
        source = torch.Generator().manual_seed(0)
        return tuple(self.group.sample(source) for _ in range(STEPS))

    def _factor_samples(self, factor: MatrixFactor) -> Tensor:
        """Matrices of the random elements, (k, n, n)."""
        return torch.stack([factor.generators.matrix(g) for g in self._elements])

    def _field_samples(self, field: MatrixField) -> Iterator[Tensor]:
        """Matrices of the random elements, one by one: all of them could be large."""
        for matrices in zip(*(self._samples(factor) for factor in field.factors), strict=True):
            yield reduce(torch.kron, matrices)

    def _split(self, field: MatrixField) -> SplitField:
        if not field.factors:
            found = [(self._add(self._scalar), torch.eye(1))]
        elif not all(factor.generators.orthogonal for factor in field.factors):
            found = [self._whole(field)]
        else:
            source = torch.Generator().manual_seed(0)
            bases = split(field.size, self._field_samples(field), source)
            found = [self._whole(field)]
            if all(maps_to_itself(field.generators, basis) for basis in bases):
                found = self._irreps(field, bases, source)
        found.sort(key=lambda part: part[0])
        basis = torch.cat([columns.double() for _, columns in found], dim=1)
        name = f"{field.name}/{self.split.cache_info().currsize}"
        return SplitField(name, field.size, tuple((index,) for index, _ in found), basis.numpy())

    def _whole(self, field: MatrixField) -> tuple[int, Tensor]:
        """A field that does not split: it is not orthogonal, or random elements mix too slowly to tell its irreps."""
        return self._add(Piece(field.generators, None)), torch.eye(field.size)

    def _irreps(self, field: MatrixField, bases: list[Tensor], source: torch.Generator) -> list[tuple[int, Tensor]]:
        """The irreps on irreducible subspaces, each with a basis in which its matrices are the irrep's."""
        samples: list[list[Tensor]] = [[] for _ in bases]
        for g in self._field_samples(field):
            for basis, own in zip(bases, samples, strict=True):
                own.append(basis.mT @ g @ basis)
        pieces = (
            Piece(field.generators.restricted(b), torch.stack(own)) for b, own in zip(bases, samples, strict=True)
        )
        return [self._identify(piece, basis, source) for piece, basis in zip(pieces, bases, strict=True)]

    def _identify(self, own: Piece, basis: Tensor, source: torch.Generator) -> tuple[int, Tensor]:
        """The irrep that an irreducible subspace is a copy of, and a basis in which the matrices are the irrep's."""
        assert own.samples is not None
        for index, piece in enumerate(self.pieces):
            if piece.size == own.size and piece.samples is not None:
                turn = intertwiner(own.samples, piece.samples, own.size, source)
                if turn is not None and intertwines(own.generators, turn, piece.generators):
                    return index, basis @ turn
        return self._add(own), basis

    def _add(self, own: Piece) -> int:
        for index, piece in enumerate(self.pieces):
            if piece.generators == own.generators and (piece.samples is not None or own.samples is None):
                return index
        self.pieces.append(own)
        return len(self.pieces) - 1

    def _between(self, out_id: IrrepId, in_id: IrrepId) -> tuple[Tensor, Tensor]:
        """Violations, ascending, and orthonormal basis maps in rows, (D,) and (D, d_out * d_in)."""
        out_piece, in_piece = self.irrep(*out_id), self.irrep(*in_id)
        out, into = out_piece.generators, in_piece.generators
        size = out.size * into.size
        if size > DENSE_LIMIT:
            expected = f"irreducible parts of at most {DENSE_LIMIT} matrix entries ({out.size} x {into.size} here)"
            raise ShapeError("d_out * d_in", size, expected, "Use lower tensor powers, or equivariant_maps alone.")
        eye = torch.eye(size, dtype=torch.float64).view(size, out.size, into.size)
        gram = constraint_gram(out, into, eye).reshape(size, size)
        irreps = out_piece.samples is not None and in_piece.samples is not None
        if irreps and not stable(gram, out, into):
            gram = self._averaged(gram, out_piece, in_piece)

        def constraint(columns: Tensor) -> Tensor:
            maps = columns.mT.reshape(-1, out.size, into.size)
            return torch.cat([part.flatten(1) for part in constraints(out, into, maps)], dim=1).mT

        sigmas, vectors = singular_levels(gram, constraint)
        # between two copies of one irrep, whose matrices differ by rounding, all of L may be rounding
        parts = (out.algebra, out.discrete, into.algebra, into.discrete)
        scale = max(float(part.abs().max()) for part in parts if part.numel())
        return torch.where(sigmas <= ZERO_TOLERANCE * scale, 0.0, sigmas), vectors.mT.contiguous()

    @staticmethod
    def _averaged(gram: Tensor, out: Piece, into: Piece) -> Tensor:
        """L^T L averaged over the group: on each irrep then sigma^2 = tr(L^T L) / d, and eigenspaces are stable."""
        assert out.samples is not None
        assert into.samples is not None

        def act(left: Tensor, right: Tensor) -> Callable[[Tensor], Tensor]:
            def turn(rows: Tensor) -> Tensor:
                return (left @ rows.reshape(-1, out.size, into.size) @ right.mT).reshape(rows.shape)

            return lambda y: turn(turn(y).mT).mT

        averaged = average(gram, map(act, out.samples, into.samples))
        return (averaged + averaged.mT) / 2


@cache
@lasting()
def matrix_spectrum(group: MatrixGroup) -> MatrixSpectrum:
    """The spectrum of a group; the same object for equal groups."""
    return MatrixSpectrum(group)


@cache
@lasting()
def matrix_transform(
    in_representation: MatrixRepresentation, out_representation: MatrixRepresentation
) -> WeightTransform:
    r"""Grade the maps W between two representations by the singular values of the stacked generators.

        L W = [drho_out(X_a) W - W drho_in(X_a);  rho_out(h_b) W rho_in(h_b)^-1 - W]

    A level is a whole eigenspace of L^T L, all generators jointly; level 0 is the equivariant maps. Between orthogonal
    representations both sides split into irreps first, so that the largest problem is that of two irreps, and L^T L
    is averaged over the group where its generators do not form an invariant set: every level is stable under the
    group and sigma^2 = tr(L^T L) / d on each irrep. Otherwise only ||L W|| <= sigma ||W|| holds: the dial is one of
    first order, exact at 0.

    Args:
        in_representation: of the input, n channels.
        out_representation: of the output, m channels.

    Returns:
        The transform between matrices (m, n, 1) and coefficients; orthogonal.

    Raises:
        RepresentationError: if the representations belong to different groups.
        ShapeError: if two parts that do not split are too large.
    """
    check_groups_agree(in_representation, out_representation)
    spectrum = matrix_spectrum(in_representation.group)
    frame_out, frame_in = (_frame(spectrum, rho) for rho in (out_representation, in_representation))
    pairs = [
        (spectrum.between(out_id, in_id), (copies_out, d_out, copies_in, d_in))
        for out_id, copies_out, d_out in frame_out.irreps
        for in_id, copies_in, d_in in frame_in.irreps
    ]
    places = _levels([sigmas for (sigmas, _), _ in pairs])
    blocks, dims, values = [], torch.zeros(len(places), dtype=torch.long), torch.tensor(places, dtype=torch.float64)
    for (sigmas, rows), copies in pairs:
        level = torch.searchsorted(values, sigmas, right=True) - 1
        blocks.append(Block(PairBasis(rows, (), True), slice(0, len(rows)), rows, level, copies))
        dims += copies[0] * copies[2] * torch.bincount(level, minlength=len(places))
    levels = tuple(
        Level(spectrum, spectrum.trivial if sigma == 0 else None, sigma, False, sigma, dim)
        for sigma, dim in zip(places, dims.tolist(), strict=True)
    )
    row_levels = torch.cat([block.level for block in blocks])
    return WeightTransform(spectrum, frame_out, frame_in, 1, tuple(blocks), row_levels, levels, True)


def _frame(spectrum: MatrixSpectrum, rho: MatrixRepresentation) -> ChannelFrame:
    parts = {field: spectrum.split(field) for field in rho.multiplicities}
    return ChannelFrame.of(spectrum, [parts[field] for field in rho.fields])


def _levels(sigmas: Sequence[Tensor]) -> list[float]:
    """The distinct violations, ascending; 0 comes first where it occurs."""
    values = torch.cat(list(sigmas)).unique()
    apart = values.diff() > SIGMA_TOLERANCE * values[-1]
    apart |= values[:-1] == 0  # whatever violates anything is not equivariant, however little it is
    return values[torch.cat([apart.new_ones(1), apart])].tolist()
