"""Weights whose rows, and perhaps columns, a finite group permutes, up to signs: no matrix is ever formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.grading.levels import Level
from escnn_soft.groups import FibreGroup

__all__ = ["GradedPermutation", "SignedPermutations", "graded_permutation"]


@dataclass(frozen=True, eq=False)
class SignedPermutations:
    """A representation by signed permutations: (g x)_i = sign(g, i) x_{source(g, i)}.

    Attributes:
        source: where the entry i of g x comes from, one row an element of the group.  # shape: (|G|, n)
        sign: 1 or -1; None where there are no signs.  # shape: (|G|, n)
    """

    source: Tensor
    sign: Tensor | None = None

    @staticmethod
    def of(images: Sequence[NDArray[np.int64]], signs: Sequence[NDArray[np.int64]] | None = None) -> SignedPermutations:
        """The representation in which g e_i = signs[g][i] e_{images[g][i]}, arrays (n,); all signs 1 if None."""
        source = torch.from_numpy(np.argsort(np.stack(images), axis=1))
        if signs is None:
            return SignedPermutations(source)
        return SignedPermutations(source, torch.from_numpy(np.stack(signs)).double().gather(1, source))

    @property
    def trace(self) -> Tensor:
        """Character: number of fixed entries, each with its sign, (|G|,) in float64."""
        fixed = (self.source == torch.arange(self.source.shape[1])).double()
        return (fixed if self.sign is None else fixed * self.sign).sum(1)

    def act(self, element: int, x: Tensor, dim: int) -> Tensor:
        """The element with a number, applied along an axis of a tensor."""
        x = x.index_select(dim, self.source[element])
        if self.sign is None:
            return x
        return x * self.sign[element].view(*[1] * dim, -1, *[1] * (x.dim() - dim - 1))

    def reordered(self, order: Tensor) -> SignedPermutations:
        """The same on entries that are stored in another order: first the entry ``order[0]``, then ``order[1]``, ..."""
        sign = None if self.sign is None else self.sign[:, order]
        return SignedPermutations(order.argsort()[self.source[:, order]], sign)

    def fixed(self, before: int, after: int) -> SignedPermutations:
        """The same with entries that stay where they are, some before and some after the others."""
        n = self.source.shape[1] + before + after
        source = torch.arange(n).repeat(len(self.source), 1)
        source[:, before : n - after] = self.source + before
        if self.sign is None:
            return SignedPermutations(source)
        sign = self.sign.new_ones(source.shape)
        sign[:, before : n - after] = self.sign
        return SignedPermutations(source, sign)

    def to(self, device: torch.device, dtype: torch.dtype) -> SignedPermutations:
        """The representation on a device, its signs in a dtype."""
        sign = None if self.sign is None else self.sign.to(device, dtype)
        return SignedPermutations(self.source.to(device), sign)


@dataclass(frozen=True, eq=False)
class GradedPermutation:
    r"""Weights (lead, rows, columns), graded by (g . W)_{l i j} = W_{l, g^-1 i, g^-1 j}, up to signs.

    The part in a level is an average over the group with the level's character, and the filter one such average:

        P_lambda W = d_lambda / (n_lambda |G|) sum_g chi_lambda(g) g . W,      n_lambda = mean of chi_lambda^2

    It costs |G| times the size of the weights and keeps nothing of their size: the S^2 x S^2 projector of the maps
    between grids of S points, whose rank is the number of orbits of pairs (Burnside), is never needed.

    Attributes:
        levels: the isotypic components that occur.
        averages: d chi(g) / (n |G|), a row a level.  # shape: (levels, |G|)
        rows: how the group acts on the rows.
        columns: how it acts on the columns; None if it leaves them alone.
        lead: product of the sizes before the rows.
    """

    levels: tuple[Level, ...]
    averages: Tensor
    rows: SignedPermutations
    columns: SignedPermutations | None
    lead: int

    @property
    def dial(self) -> Tensor:
        """Place of each level on the dial, (levels,) in float64."""
        return torch.tensor([level.dial for level in self.levels], dtype=torch.float64)

    def filtered(self, weight: Tensor, gains: Tensor) -> Tensor:
        """As :meth:`Grading.filtered`; the weight's sizes multiply to lead * rows * columns."""
        x = self._view(weight)
        less = (gains - 1) @ self.averages
        return (x + sum(less[g] * self._moved(g, x) for g in range(len(less)))).reshape(weight.shape)

    def energies(self, weight: Tensor) -> Tensor:
        """Squared norm of a weight in each level: sum_g (P_lambda)_g <W, g . W>, (levels,)."""
        x = self._view(weight)
        overlaps = torch.stack([(x * self._moved(g, x)).sum() for g in range(self.averages.shape[1])])
        return (self.averages @ overlaps).clamp(min=0.0)

    def to(self, device: torch.device, dtype: torch.dtype) -> GradedPermutation:
        """The splitting on a device in a dtype."""
        columns = None if self.columns is None else self.columns.to(device, dtype)
        return replace(
            self, averages=self.averages.to(device, dtype), rows=self.rows.to(device, dtype), columns=columns
        )

    def _view(self, weight: Tensor) -> Tensor:
        return weight.reshape(self.lead, self.rows.source.shape[1], -1)

    def _moved(self, element: int, x: Tensor) -> Tensor:
        x = self.rows.act(element, x, 1)
        if self.columns is None:
            return x
        return self.columns.act(element, x.mT.contiguous(), 1).mT  # rows are copied whole, columns entry by entry

    def __deepcopy__(self, memo: dict[int, object]) -> GradedPermutation:
        """It never changes, so copies of a module share it."""
        return self


def graded_permutation(
    group: FibreGroup,
    rows: SignedPermutations,
    columns: SignedPermutations | None = None,
    *,
    lead: int = 1,
    trail: int = 1,
) -> GradedPermutation:
    """Grade weights by how a finite group permutes their rows, and perhaps their columns.

    Args:
        group: a finite group; its elements are counted as in ``group.group.elements``.
        rows: how it acts on the rows.
        columns: how it acts on the columns; None if it leaves them alone.
        lead: product of the sizes before the rows.
        trail: number of columns that the group leaves alone, 1 if it moves them.

    Returns:
        The splitting, one level for each irrep that occurs, in float64.
    """
    elements = list(group.group.elements)
    trace = rows.trace if columns is None else rows.trace * columns.trace
    kept = []
    for psi in group.group.irreps():
        chi = torch.tensor([float(np.trace(psi(g))) for g in elements], dtype=torch.float64)
        average = psi.size * chi / chi.square().sum()  # sum of squares: n |G|
        dim = round(float(average @ trace)) * lead * trail
        if dim > 0:
            sigma = group.violation(psi.id)
            kept.append((Level(group.group, psi.id, sigma, False, sigma, dim), average))
    kept.sort(key=lambda pair: (pair[0].sigma, pair[0].irrep_id))
    averages = torch.stack([average for _, average in kept])
    return GradedPermutation(tuple(level for level, _ in kept), averages, rows, columns, lead)
