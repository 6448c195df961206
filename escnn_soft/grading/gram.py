"""Gram matrices of a weight's coefficients, one an irrep: all that the error under the group depends on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from escnn_soft.bounds.symmetry import IrrepId
from escnn_soft.grading.transform import WeightTransform

__all__ = ["IrrepGrams"]


class IrrepGrams:
    r"""M_lambda = sum over the coefficient vectors w of irrep lambda of w w^T, from the coefficients of a transform.

    A level's rows are (copy, d): each copy of the irrep and each pair of channels is one vector.

    Args:
        transform: whose coefficients they are.

    Attributes:
        irreps: ids in the order of the levels, None for a remainder without a law; harmonics and remainder together.
        sigmas: their violations.
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
        self._sizes = tuple(sizes[irrep] for irrep in self.irreps)
        self._parts: list[list[tuple[int, Tensor | None, Tensor]]] = []
        for block in transform.blocks:
            row_sizes, row_owners = size[block.level], owner[block.level]
            parts: list[tuple[int, Tensor | None, Tensor]] = []
            for d in row_sizes.unique().tolist():
                columns = (row_sizes == d).nonzero()[:, 0]
                every = len(columns) == len(row_sizes)
                parts.append((d, None if every else columns, row_owners[columns[::d]]))
            self._parts.append(parts)

    def __call__(self, coefficients: Sequence[Tensor]) -> list[Tensor]:
        """The Gram matrices (d, d), one an irrep, of :meth:`WeightTransform.block_coefficients`, differentiably."""
        collected: dict[int, tuple[list[Tensor], list[Tensor]]] = {d: ([], []) for d in self._sizes}
        for c, parts in zip(coefficients, self._parts, strict=True):
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
        return [totals[d][i] for i, d in enumerate(self._sizes)]
