"""Graded bases of the directions that subgroups keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from escnn.group import GroupElement
from numpy.typing import NDArray
from torch import Tensor

from escnn_soft.linalg import extend_orthonormal
from escnn_soft.spectrum.basis import LAWLESS, KernelSpace, LevelKey, PairBasis
from escnn_soft.spectrum.chain import SubgroupChain
from escnn_soft.spectrum.fibregroup import IrrepId

__all__ = ["Movements", "RelaxedSpace"]

Matrix = NDArray[np.float64]

Movements = Sequence[tuple[GroupElement, NDArray[np.int64]]]
"""All elements of a finite group, each with where it sends the points."""


class RelaxedSpace(KernelSpace):
    """The directions of a kernel space that the last subgroup of a chain keeps, graded by the first that does.

    Args:
        whole: the space of all kernels.
        chain: the subgroups.
        movements: for each subgroup how it moves the points, None if it does not: then a remainder on which the group
            has no law has none for the subgroup either, and the subgroup keeps nothing of it.
    """

    def __init__(
        self, whole: KernelSpace, chain: SubgroupChain, movements: Sequence[Movements | None] | None = None
    ) -> None:
        super().__init__(whole.group, whole.copies, exact=whole.exact)
        self.whole = whole
        self.stages = chain.names
        self._chain = chain
        self._movements = [None] * len(chain.names) if movements is None else movements

    def _between(self, out_irrep: IrrepId, in_irrep: IrrepId) -> PairBasis:
        assert self.whole is not None
        whole = self.whole.between(out_irrep, in_irrep)
        kept: list[tuple[LevelKey, Tensor]] = []
        start = 0
        for (_, remainder, sigma, irrep), rows in whole.levels:
            stages = self._kept_lawless(out_irrep, in_irrep) if irrep == LAWLESS else self._chain.kept(irrep)
            for stage, vectors in enumerate(stages):
                d, count = vectors.shape
                if count:  # the level's rows are (copy, d), those of a remainder without a law a single copy
                    embedding = torch.zeros(rows // d * count, len(whole.rows), dtype=torch.float64)
                    embedding[:, start : start + rows] = torch.from_numpy(np.kron(np.eye(rows // d), vectors.T))
                    kept.append(((stage, remainder, sigma, irrep), embedding))
            start += rows
        kept.sort(key=lambda level: level[0])
        embedding = torch.cat([whole.rows.new_zeros(0, len(whole.rows)), *(part for _, part in kept)])
        levels = tuple((key, len(part)) for key, part in kept)
        return PairBasis(embedding @ whole.rows, levels, self.exact, embedding, whole)

    def _kept_lawless(self, out_irrep: IrrepId, in_irrep: IrrepId) -> tuple[Matrix, ...]:
        """As :meth:`SubgroupChain.kept`, of the maps (s, out, in) with a remainder's functions; by averaging."""
        functions = np.concatenate([copy.functions for copy in self.copies if copy.irrep is None], axis=1)
        size = functions.shape[1] * self.group.size(out_irrep) * self.group.size(in_irrep)
        accepted, stages = list[Matrix](), list[Matrix]()
        for movements in self._movements:
            new: list[Matrix] = []
            if movements is not None:
                total = np.zeros((size, size))
                for g, image in movements:
                    fibres = np.kron(self._psi(out_irrep, g), self._psi(in_irrep, g))
                    total += np.kron(_moved(functions, image), fibres)
                new = extend_orthonormal(accepted, list((total / len(movements))[:, :, None]))  # symmetric
            accepted += new
            stages.append(np.concatenate([np.zeros((size, 0)), *new], axis=1))
        return tuple(stages)

    def _psi(self, irrep: IrrepId, element: GroupElement) -> Matrix:
        return self.group.matrix(irrep, element).numpy()


def _moved(functions: Matrix, image: NDArray[np.int64]) -> Matrix:
    """How a permutation of the points acts on the span of orthonormal functions, which it maps to itself."""
    moved = np.empty_like(functions)
    moved[image] = functions
    return functions.T @ moved
