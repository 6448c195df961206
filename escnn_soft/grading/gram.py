"""Gram matrices of a weight's coefficients, one an irrep: all that the error under the group depends on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.grading.transform import WeightTransform
from escnn_soft.grading.unit import Unit

__all__ = ["GramVector", "IrrepGrams"]


class IrrepGrams:
    r"""M_lambda = sum over the coefficient vectors w of irrep lambda of w w^T, from the coefficients of a transform.

    A level's rows are (copy, d): each copy of the irrep and each pair of channels is one vector.

    Args:
        transform: whose coefficients they are.

    Attributes:
        irreps: ids in the order of the levels, None for a remainder without a law; harmonics and remainder together.
        sigmas: their violations.
        sizes: of the matrices.
        parts: of each block, for each size of an irrep, the columns that belong to such irreps, None for all, and the
            irrep of each of their copies.
    """

    def __init__(self, transform: WeightTransform) -> None:
        levels = transform.levels
        self.irreps: tuple[IrrepId | None, ...] = tuple(dict.fromkeys(level.irrep_id for level in levels))
        sigma = {level.irrep_id: level.sigma for level in levels}
        self.sigmas = tuple(sigma[irrep] for irrep in self.irreps)
        sizes = {None: 1} | {i: transform.group.size(i) for i in self.irreps if i is not None}
        device = transform.row_levels.device
        owner = torch.tensor([self.irreps.index(level.irrep_id) for level in levels], device=device)
        size = torch.tensor([sizes[level.irrep_id] for level in levels], device=device)
        self.sizes = tuple(sizes[irrep] for irrep in self.irreps)
        self.parts: list[list[tuple[int, Tensor | None, Tensor]]] = []
        for block in transform.blocks:
            row_sizes, row_owners = size[block.level], owner[block.level]
            parts: list[tuple[int, Tensor | None, Tensor]] = []
            for d in row_sizes.unique().tolist():
                columns = (row_sizes == d).nonzero()[:, 0]
                every = len(columns) == len(row_sizes)
                parts.append((d, None if every else columns, row_owners[columns[::d]]))
            self.parts.append(parts)

    def __call__(self, coefficients: Sequence[Tensor]) -> list[Tensor]:
        """The Gram matrices (d, d), one an irrep, of :meth:`WeightTransform.block_coefficients`, differentiably."""
        collected: dict[int, tuple[list[Tensor], list[Tensor]]] = {d: ([], []) for d in self.sizes}
        for c, parts in zip(coefficients, self.parts, strict=True):
            for d, columns, owners in parts:
                x = (c if columns is None else c[:, columns]).reshape(len(c), -1, d)
                gram = x.square().sum(0)[..., None] if d == 1 else torch.einsum("pci,pcj->cij", x, x)
                collected[d][0].append(gram)
                collected[d][1].append(owners)
        totals = {
            d: grams[0].new_zeros(len(self.irreps), d, d).index_add(0, torch.cat(owners), torch.cat(grams))
            for d, (grams, owners) in collected.items()
            if grams
        }
        return [totals[d][i] for i, d in enumerate(self.sizes)]


class GramVector:
    """The entries of all matrices of :class:`IrrepGrams`, one matrix behind the other, in a few operations.

    Args:
        transform: whose coefficients they are.
        units: stacks of blocks that are multiplied at once, together all of the transform's.

    Attributes:
        sizes: of the matrices, in the order of the irreps.
    """

    def __init__(self, transform: WeightTransform, units: Sequence[Unit]) -> None:
        grams = IrrepGrams(transform)
        self.sizes = grams.sizes
        starts = torch.tensor([0, *(d * d for d in self.sizes)]).cumsum(0)
        self._entries = int(starts[-1])
        places = {id(block): parts for block, parts in zip(transform.blocks, grams.parts, strict=True)}
        taken, given, start = [], [], 0
        for unit in units:
            width = unit.rows.shape[-2]
            for block in unit.blocks:
                for d, columns, owners in places[id(block)]:
                    rows = torch.arange(len(block.level)) if columns is None else columns.cpu()
                    first, second = rows.view(-1, d, 1), rows.view(-1, 1, d)
                    taken.append((start + first * width + second).flatten())
                    inside = torch.arange(d * d).view(1, d * d)
                    given.append((starts[owners.cpu()][:, None] + inside).flatten())
                start += width * width
        device = transform.row_levels.device
        self._taken, self._given = (
            torch.cat([torch.zeros(0, dtype=torch.long), *some]).to(device) for some in (taken, given)
        )

    def __call__(self, pieces: Sequence[Tensor]) -> Tensor:
        """The entries, differentiably, from coefficients unit by unit.

        Args:
            pieces: as :meth:`Arrangement.pieces` gives them.  # each: (..., pairs, D)

        Returns:
            All matrices, row by row.  # shape: (entries,)
        """
        return self.of_products([piece.mT @ piece for piece in pieces])

    def of_products(self, products: Sequence[Tensor]) -> Tensor:
        """Likewise from piece^T piece of each piece, (..., D, D)."""
        numbers = torch.cat([each.reshape(-1) for each in products])
        return numbers.new_zeros(self._entries).index_add(0, self._given, numbers.index_select(0, self._taken))

    def adjoint(self, gradient: Tensor, pieces: Sequence[Tensor]) -> list[Tensor]:
        """The derivative of :meth:`__call__` in the pieces, for a gradient of the entries."""
        sizes = [math.prod(piece.shape[:-2]) * piece.shape[-1] ** 2 for piece in pieces]
        products = gradient.new_zeros(sum(sizes)).index_copy(0, self._taken, gradient.index_select(0, self._given))
        each = zip(pieces, products.split(sizes), strict=True)
        slopes = ((piece, part.view(*piece.shape[:-2], piece.shape[-1], piece.shape[-1])) for piece, part in each)
        return [piece @ (slope + slope.mT) for piece, slope in slopes]
